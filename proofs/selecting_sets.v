(* Selecting sets of keys (docs/theory.md, section 5). The least dimension in which n fixed keys exist such that every set of at
   most q of them is exactly what some query prefers is min(2 q, n - 1): Radon's theorem below, the moment
   curve and the simplex above. *)
From mathcomp Require Import all_ssreflect all_algebra zify ring.
From rankbound Require Import model linalg.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Sets.
Variables (R : realFieldType) (r n : nat).

(* the query w prefers exactly the keys in S: each scores above each other key *)
Definition prefers (K : 'M[R]_(r, n)) (w : 'rV_r) (S : {set 'I_n}) :=
  forall i j, i \in S -> j \notin S -> (w *m K) 0 j < (w *m K) 0 i.

(* Radon: an affine relation among r + 2 of n keys *)
Lemma affine_relation (K : 'M[R]_(r, n)) : (r.+2 <= n)%N -> exists l : 'cV[R]_n,
  [/\ l != 0, K *m l = 0, \sum_i l i 0 = 0 & (#|[set i | (l i 0 != 0)%R]| <= r.+2)%N].
Proof.
move=> rn; pose E : 'M[R]_(n, r.+2) := pid_mx r.+2; pose A := col_mx K (ones R n)^T *m E.
have [v Av] : exists2 v : 'cV[R]_r.+2, A *m v = 0 & 1%:M *m v != 0.
  apply: not_submx_witness; apply/negP => /mxrankS; rewrite mxrank1.
  by rewrite leqNgt ltnS (leq_trans (mxrankM_maxl _ _)) // (leq_trans (rank_leq_row _)) // addn1.
rewrite mul1mx => v0; have Ei (i : 'I_r.+2) : (E *m v) (widen_ord rn i) 0 = v i 0.
  rewrite mxE (bigD1 i) //= big1 ?addr0 => [|j ji]; first by rewrite mxE /= eqxx ltn_ord mul1r.
  by rewrite mxE /= eq_sym (negPf (ji : j != i :> nat)) mul0r.
have := Av; rewrite -mulmxA mul_col_mx => /eqP; rewrite col_mx_eq0 => /andP [/eqP K0 /eqP s0].
exists (E *m v); split=> //.
- by apply: contraNneq v0 => e; apply/eqP/colP => i; rewrite -Ei e !mxE.
- by have /matrixP/(_ 0 0) := s0; rewrite mxE [RHS]mxE; apply: etrans; apply: eq_bigr => i _; rewrite !mxE mul1r.
apply: (@leq_trans #|[set widen_ord rn a | a in 'I_r.+2]|); last first.
  by apply: leq_trans (leq_imset_card _ _) _; rewrite card_ord.
apply/subset_leq_card/subsetP => i.
rewrite inE => nz; have ir : (i < r.+2)%N.
  rewrite ltnNge; apply: contra nz => ri; rewrite mxE big1 // => j _.
  by rewrite mxE (_ : _ && _ = false) ?mul0r //; apply/negP => /andP [_]; rewrite ltnNge ri.
by apply/imsetP; exists (Ordinal ir) => //; apply: val_inj.
Qed.

(* fewer than min(2 q, n - 1) dimensions: some set of at most q keys is preferred by no query *)
Theorem sets_need (K : 'M[R]_(r, n)) q : (r < minn (2 * q) n.-1)%N ->
  exists2 S : {set 'I_n}, (#|S| <= q)%N & forall w, ~ prefers K w S.
Proof.
rewrite leq_min => /andP [rq rn]; have [|l [l0 Kl sl card]] := @affine_relation K; first by lia.
wlog small : l l0 Kl sl card / (#|[set i | (0 < l i 0)%R]| <= q)%N => [H | ].
  case: (leqP #|[set i | (0 < l i 0)%R]| q) => big; first exact: (H l).
  apply: (H (- l)); rewrite ?oppr_eq0 ?mulmxN ?Kl ?oppr0 //.
  - by under eq_bigr do rewrite mxE; rewrite sumrN sl oppr0.
  - by rewrite (eq_card (B := [set i | l i 0 != 0])) // => i; rewrite !inE mxE oppr_eq0.
  have dis : [set i | l i 0 != 0] = [set i | 0 < l i 0] :|: [set i | 0 < (- l) i 0].
    by apply/setP => i; rewrite !inE mxE oppr_gt0 neq_lt orbC.
  have : #|[set i | 0 < l i 0] :&: [set i | 0 < (- l) i 0]| = 0%N.
    apply/eqP; rewrite cards_eq0; apply/eqP/setP => i; rewrite !inE mxE oppr_gt0.
    by apply/negP => /andP [/lt_trans h /h]; rewrite ltxx.
  move=> inter; move: card big rq; rewrite dis cardsU inter subn0.
  by move: #|[set i | 0 < l i 0]| #|[set i | 0 < (- l) i 0]| => a b; rewrite mul2n -addnn; lia.
exists [set i | 0 < l i 0] => // w pref; set f := (w *m K) 0 in pref.
have fl : \sum_i l i 0 * f i = 0.
  have /matrixP/(_ 0 0) : w *m K *m l = 0 by rewrite -mulmxA Kl mulmx0.
  by rewrite mxE [RHS]mxE; apply: etrans; apply: eq_bigr => i _; rewrite mulrC.
have split (g : 'I_n -> R) : \sum_i l i 0 * g i =
    \sum_(i | 0 < l i 0) l i 0 * g i - \sum_(i | ~~ (0 < l i 0)) - l i 0 * g i.
  by rewrite (bigID (fun i => 0 < l i 0)) /= -sumrN; congr (_ + _); apply: eq_bigr => i _; rewrite mulNr opprK.
pose L := \sum_(i | 0 < l i 0) l i 0; have L' : \sum_(i | ~~ (0 < l i 0)) - l i 0 = L.
  move: sl; rewrite (bigID (fun i => 0 < l i 0)) /= => /eqP; rewrite addr_eq0 => /eqP e.
  by rewrite sumrN -e.
have L0 : 0 < L.
  rewrite lt_def sumr_ge0 ?andbT => [|i /ltW //]; apply: contraNneq l0 => z.
  apply/eqP/colP => i; rewrite [RHS]mxE; apply/eqP; case: (boolP (0 < l i 0)) => li.
    by have /(_ _ li) -> := psumr_eq0P (fun i (h : 0 < l i 0) => ltW h) z.
  have ge i' : ~~ (0 < l i' 0) -> 0 <= - l i' 0 by rewrite oppr_ge0 leNgt.
  by have /eqP := psumr_eq0P ge (etrans L' z) li; rewrite oppr_eq0.
have [i0 i0P] : exists i, 0 < l i 0.
  apply/existsP; apply: contraTT L0; rewrite negb_exists => /forallP h; rewrite -leNgt /L big1 ?lexx // => i.
  by rewrite (negPf (h i)).
(* all of the positive side scores above all of the other *)
have : 0 < \sum_(i | 0 < l i 0) \sum_(j | ~~ (0 < l j 0)) l i 0 * - l j 0 * (f i - f j).
  have fij i j : 0 < l i 0 -> ~~ (0 < l j 0) -> f j < f i by move=> li lj; apply: pref; rewrite inE.
  have ge i j : 0 < l i 0 -> ~~ (0 < l j 0) -> 0 <= l i 0 * - l j 0 * (f i - f j).
    move=> li lj; apply: mulr_ge0; last by rewrite subr_ge0 ltW ?fij.
    by apply: mulr_ge0; rewrite ?oppr_ge0 ?(ltW li) // leNgt.
  have [j0 j0P] : exists j, l j 0 < 0.
    apply/existsP; apply: contraTT L0; rewrite negb_exists => /forallP h; rewrite -leNgt -L' sumrN oppr_le0.
    by apply: sumr_ge0 => j _; rewrite leNgt.
  have j0N : ~~ (0 < l j0 0) by rewrite -leNgt ltW.
  rewrite (bigD1 i0) //= ltr_spaddl ?sumr_ge0 // => [|i /andP [li _]]; last by rewrite sumr_ge0 // => j; apply: ge.
  rewrite (bigD1 j0) //= ltr_spaddl ?sumr_ge0 // => [|j /andP [lj _]]; last exact: ge.
  by apply: mulr_gt0; [apply: mulr_gt0; rewrite ?oppr_gt0 | rewrite subr_gt0 fij].
suff -> : \sum_(i | 0 < l i 0) \sum_(j | ~~ (0 < l j 0)) l i 0 * - l j 0 * (f i - f j) = 0 by rewrite ltxx.
pose G := \sum_(j | ~~ (0 < l j 0)) - l j 0 * f j.
transitivity (\sum_(i | 0 < l i 0) (l i 0 * f i * L - l i 0 * G)).
  apply: eq_bigr => i li; rewrite -L' !mulr_sumr -sumrB; apply: eq_bigr => j lj; ring.
by rewrite sumrB -!mulr_suml -/L mulrC -mulrBr -split fl mulr0.
Qed.
End Sets.

Section Suffice.
Variables (R : realFieldType) (r n : nat).

(* n - 1 dimensions: the corners of a simplex, every set *)
Lemma simplex : (n.-1 <= r)%N -> exists K : 'M[R]_(r, n), forall S, exists w, prefers K w S.
Proof.
move=> nr; exists (\matrix_(a, i) (a == i :> nat)%:R) => S.
pose z : R := if insub n.-1 is Some last then (last \in S)%:R else 0.
pose w : 'rV[R]_r := \row_a (if insub (a : nat) is Some i then ((i : 'I_n) \in S)%:R - z else 0).
exists w; have score i : (w *m \matrix_(a, i) (a == i :> nat)%:R) 0 i = (i \in S)%:R - z.
  have vi : insub (i : nat) = Some i := valK i.
  rewrite mxE; case: (ltnP i r) => ir.
    rewrite (bigD1 (Ordinal ir)) //= big1 ?addr0 => [|a ai]; last first.
      by rewrite !mxE (_ : (a == i :> nat) = false) ?mulr0 //; apply: negbTE; move: ai; rewrite -val_eqE.
    by rewrite !mxE /= eqxx mulr1 vi.
  rewrite big1 => [|a _]; last first.
    by rewrite !mxE (_ : (a == i :> nat) = false) ?mulr0 //; apply: negbTE; have := ltn_ord a; lia.
  have last : n.-1 = i by have := ltn_ord i; lia.
  by rewrite /z last vi subrr.
by move=> i j iS jS; rewrite !score iS (negPf jS) ltr_add2r ltr01.
Qed.

(* 2 q dimensions: the moment curve, sets of at most q keys *)
Lemma moment_curve q : (2 * q <= r)%N ->
  exists K : 'M[R]_(r, n), forall S : {set 'I_n}, (#|S| <= q)%N -> exists w, prefers K w S.
Proof.
move=> qr; exists (\matrix_(a, i) (i%:R : R) ^+ a.+1) => S Sq.
pose rs := [seq (nat_of_ord i)%:R : R | i <- enum S]; pose Q := \prod_(x <- rs) ('X - x%:P).
have sQ : size Q = #|S|.+1 by rewrite size_prod_XsubC size_map -cardE.
have sp : (size (Q * Q)%R <= r.+1)%N.
  by apply: leq_trans (size_mul_leq _ _) _; rewrite sQ; lia.
pose w : 'rV[R]_r := \row_a - (Q * Q)`_a.+1.
exists w; have score i : (w *m \matrix_(a, i) (i%:R : R) ^+ a.+1) 0 i = (Q * Q)`_0 - Q.[i%:R] ^+ 2.
  rewrite mxE expr2 -hornerM (horner_coef_wide _ sp) big_ord_recl expr0 mulr1 opprD addrA subrr add0r -sumrN.
  by apply: eq_bigr => a _; rewrite !mxE mulNr.
have rt (i : 'I_n) : (Q.[i%:R] == 0) = (i \in S).
  rewrite -[_ == 0]/(root Q i%:R) root_prod_XsubC; apply/mapP/idP => [[j jS /eqP] | iS].
    by rewrite eqr_nat => /eqP/val_inj ->; rewrite mem_enum in jS.
  by exists i; rewrite ?mem_enum.
move=> i j; rewrite -!rt => /eqP i0 j0; rewrite !score i0 expr0n subr0 ltr_subl_addl ltr_addr.
by rewrite lt_def sqr_ge0 sqrf_eq0 j0.
Qed.
End Suffice.

(* keys in R^r such that each set of at most q of the n keys is preferred by some query exist iff
   r >= min(2 q, n - 1) *)
Theorem selecting_sets (R : realFieldType) r n q :
  (exists K : 'M[R]_(r, n), forall S : {set 'I_n}, (#|S| <= q)%N -> exists w, prefers K w S) <->
  (minn (2 * q) n.-1 <= r)%N.
Proof.
split=> [[K h] | ].
  by rewrite leqNgt; apply/negP => /(sets_need K) [S /h [w pw] /(_ w)].
rewrite geq_min => /orP [/moment_curve | /simplex h]; first exact.
by have [K hK] := h R; exists K => S _; apply: hK.
Qed.
