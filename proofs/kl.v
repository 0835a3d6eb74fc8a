(* A zero token attends uniformly, so every head stays at a KL divergence from P. Where e^x >= 1 + x, as for the
   real exponential: for an exponential of another base the unit of KL would be another. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg softmax_gauge theorem_1.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section KL.
Variables (R : expField) (n : nat).
Hypothesis expR_ge : forall x : R, 1 + x <= expR x.
Implicit Types p q : 'cV[R]_n.

(* Σ p_i log (p_i / q_i) >= 0 *)
Lemma gibbs (p q : 'I_n -> R) : (forall i, 0 < p i) -> (forall i, 0 < q i) -> \sum_i p i = 1 -> \sum_i q i = 1 ->
  0 <= \sum_i p i * (ln (p i) - ln (q i)).
Proof.
move=> p0 q0 p1 q1; have : \sum_i (p i - q i) <= \sum_i p i * (ln (p i) - ln (q i)); last by rewrite sumrB p1 q1 subrr.
apply: ler_sum => i _; have := expR_ge (ln (q i) - ln (p i)).
rewrite expRB !lnK ?posrE // ler_pdivl_mulr // mulrC mulrDr mulr1 => h.
by rewrite -[ln (p i) - _]opprB mulrN ler_subl_addr addrC ler_subr_addr.
Qed.

Local Notation kl P Q := (n%:R^-1 * \sum_j \sum_i P i j * (ln (P i j) - ln (Q i j))).

(* tokens X with x_j = 0: every context Q of a head has a KL divergence from P of at least that of P_j from the uniform
   distribution, over n *)
Theorem zero_token_kl d k s (X : 'M[R]_(d, n)) (P Q : 'M[R]_n) j : col j X = 0 -> stochastic P ->
  reachable k s X Q -> n%:R^-1 * (\sum_i P i j * (ln (P i j) - ln (n%:R^-1))) <= kl P Q.
Proof.
move=> Xj [P0 P1] [Wk [Wq hQ]]; have n0 : (0 < n)%N := leq_ltn_trans (leq0n j) (ltn_ord j).
have [Q0 Q1] : stochastic Q by rewrite -hQ; apply: softmax_stochastic.
rewrite ler_pmul2l ?invr_gt0 ?ltr0n // [X in _ <= X](bigD1 j) //= ler_paddr //.
  by apply: sumr_ge0 => l _; apply: gibbs.
apply: ler_sum => i _; suff -> : Q i j = n%:R^-1 by [].
have U l : Q l j = Q i j by rewrite -hQ; apply: zero_token.
have := Q1 j; rewrite (eq_bigr (fun=> Q i j)) => [|l _]; last exact: U.
rewrite sumr_const card_ord => e; apply: (@mulIf _ n%:R); rewrite ?pnatr_eq0 -?lt0n //.
by rewrite mulr_natr e mulVf // pnatr_eq0 -lt0n.
Qed.
End KL.
