(* Draws by any law. Entries that are drawn independently from finitely many numbers, none of which has more than
   the probability e: a block of size T is singular with a probability of at most T e. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model draws draws_nested.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Laws.
Variables (R : realFieldType) (S : finType) (m n : nat) (w : 'I_m -> 'I_n -> S -> R) (e : R).
Hypotheses (w0 : forall i j x, 0 <= w i j x) (w1 : forall i j, \sum_x w i j x = 1)
  (we : forall i j x, w i j x <= e).
Implicit Types M : 'M[S]_(m, n).

Definition prob M := \prod_i \prod_j w i j (M i j).
Lemma probE M : prob M = \prod_(p : 'I_m * 'I_n) w p.1 p.2 (M p.1 p.2).
Proof. exact: pair_bigA. Qed.
Lemma prob_ge0 M : 0 <= prob M. Proof. by rewrite probE prodr_ge0. Qed.

Lemma prob_all : \sum_M prob M = 1.
Proof.
have <- : \prod_(p : 'I_m * 'I_n) (\sum_x w p.1 p.2 x) = 1 by apply: big1 => p _; apply: w1.
rewrite bigA_distr_bigA /=; pose fromf (f : {ffun 'I_m * 'I_n -> S}) : 'M[S]_(m, n) := \matrix_(i, j) f (i, j).
rewrite (reindex fromf) /=; last first.
  exists (fun M => [ffun p => M p.1 p.2]) => [f | M] _.
    by apply/ffunP => -[i j]; rewrite ffunE mxE.
  by apply/matrixP => i j; rewrite mxE ffunE.
by apply: eq_bigr => f _; rewrite probE; apply: eq_bigr => -[i j] _; rewrite mxE.
Qed.

(* a set of matrices in which none is told from another by the entry (i0, j0) alone *)
Lemma thin_prob (B : {set 'M[S]_(m, n)}) i0 j0 :
  (forall M M', M \in B -> M' \in B -> (forall i j, (i, j) != (i0, j0) -> M i j = M' i j) -> M = M') ->
  \sum_(M in B) prob M <= e.
Proof.
move=> thin; pose put (p : 'M[S]_(m, n) * S) : 'M[S]_(m, n) :=
  \matrix_(i, j) if (i, j) == (i0, j0) then p.2 else p.1 i j.
pose rest M := \prod_(p : 'I_m * 'I_n | p != (i0, j0)) w p.1 p.2 (M p.1 p.2).
have rest0 M : 0 <= rest M by apply: prodr_ge0.
have split M : prob M = w i0 j0 (M i0 j0) * rest M by rewrite probE (bigD1 (i0, j0)).
have put_prob M x : prob (put (M, x)) = w i0 j0 x * rest M.
  rewrite split mxE eqxx; congr (_ * _); apply: eq_bigr => -[i j] /negPf ij.
  by rewrite mxE ij.
have e0 : 0 <= e.
  have [x _ | S0] := pickP (fun _ : S => true); first exact: le_trans (w0 i0 j0 x) (we i0 j0 x).
  by have := w1 i0 j0; rewrite big_pred0 // => /eqP; rewrite eq_sym oner_eq0.
apply: (@le_trans _ _ (e * \sum_(M in B) rest M)).
  by rewrite mulr_sumr; apply: ler_sum => M _; rewrite split ler_wpmul2r.
rewrite -[X in _ <= X]mulr1; apply: ler_wpmul2l => //.
have -> : \sum_(M in B) rest M = \sum_(p in setX B setT) prob (put p).
  rewrite (eq_bigr (fun M => \sum_(x in [set: S]) prob (put (M, x)))) => [|M _].
    rewrite pair_big_dep /=; apply: eq_big => [[M x] | [M x] _] //=; by rewrite !inE.
  rewrite -[LHS]mul1r -(w1 i0 j0) mulr_suml; apply: eq_big => [x | x _]; first by rewrite inE.
  by rewrite put_prob.
rewrite -(@big_imset _ _ _ _ _ put _ prob) /=; last first.
  move=> [M s] [M' s']; rewrite !inE !andbT /= => MB MB' /matrixP E.
  have -> : s = s' by have := E i0 j0; rewrite !mxE eqxx.
  by congr (_, _); apply: thin => // i j /negPf ij; have := E i j; rewrite !mxE ij.
rewrite -prob_all [X in _ <= X](bigID (mem (put @: setX B setT))) /= ler_addl.
by apply: sumr_ge0 => M _; apply: prob_ge0.
Qed.

Variables (F : fieldType) (v : S -> F) (T : nat) (f : 'I_T -> 'I_m) (g : 'I_T -> 'I_n) (o : 'I_m).
Hypotheses (vI : injective v) (fI : injective f) (gI : injective g) (fo : forall t, f t != o).

Theorem singular_laws (bad : pred 'M[S]_(m, n)) :
  (forall M, bad M -> \det (block f g o (map_mx v M)) = 0) -> \sum_(M | bad M) prob M <= T%:R * e.
Proof.
move=> hb; pose B (t : 'I_T) := [set M : 'M[S]_(m, n) | fails f g o t (map_mx v M)].
apply: (@le_trans _ _ (\sum_t \sum_(M in B t) prob M)); last first.
  have -> : T%:R * e = \sum_(t < T) e by rewrite sumr_const card_ord mulr_natl.
  apply: ler_sum => t _.
  apply: (@thin_prob (B t) (f t) (g t)) => M M'; rewrite !inE => hM hM' same.
  have E : map_mx v M = map_mx v M'.
    by apply: (fails_once fI gI fo hM hM') => i j ij; rewrite !mxE same.
  by apply/matrixP => i j; apply: vI; have /matrixP/(_ i j) := E; rewrite !mxE.
rewrite (eq_bigr (fun t => \sum_M (if M \in B t then prob M else 0))) => [|t _]; last by rewrite big_mkcond.
rewrite exchange_big [X in X <= _]big_mkcond /=; apply: ler_sum => M _; case: ifP => [/hb|_]; last first.
  by apply: sumr_ge0 => t _; case: ifP => _ //; apply: prob_ge0.
move=> /some_pivot_fails [t ht]; rewrite (bigD1 t) //= inE ht ler_addl.
by apply: sumr_ge0 => t' _; case: ifP => _ //; apply: prob_ge0.
Qed.
End Laws.

(* no mask: logits drawn independently, no number with more than the probability e. With a probability of at most
   (n - 1) e the log-rank is not n - 1. *)
Theorem full_laws (R : expField) n (S : finType) (v : S -> R) (w : 'I_n -> 'I_n -> S -> R) (e : R) :
  injective v -> (0 < n)%N -> (forall i j x, 0 <= w i j x <= e) -> (forall i j, \sum_x w i j x = 1) ->
  \sum_(M : 'M[S]_n | logrank (softmax (map_mx v M)) != n.-1) \prod_i \prod_j w i j (M i j) <= n.-1%:R * e.
Proof.
case: n w => // n w vI _ we w1; apply: (@singular_laws _ _ _ _ w e _ w1 _ _ v n (lift ord0) (lift ord0) ord0) => //.
- by move=> i j x; case/andP: (we i j x).
- by move=> i j x; case/andP: (we i j x).
- exact: lift_inj.
- exact: lift_inj.
by move=> M; apply: contraNeq => /full_logrank /= ->.
Qed.
