(* B20, Theorem 1: on X = [1, 0] the contexts are those with a uniform second column. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_1 almost_all theorem_1_more theorem_1_dense theorem_b theorem_b_softmax theorem_c theorem_c_generic theorem_c_softmax theorem_c_causal theorem_2_inclusion theorem_2_separation theorem_2_b20 variants.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.
Section S.
Variable R : expField.
Local Notation i0 := (ord0 : 'I_2).
Local Notation i1 := (ord_max : 'I_2).
Definition X10 : 'M[R]_(1, 2) := \matrix_(i, j) (j == i0)%:R.
Lemma sum2 (f : 'I_2 -> R) : \sum_i f i = f i0 + f i1.
Proof. by rewrite !big_ord_recl big_ord0 addr0; congr (_ + f _); apply: val_inj. Qed.

Lemma ker10 (v : 'cV[R]_2) : X10 *m v = 0 <-> v i0 0 = 0.
Proof.
split=> [/matrixP/(_ 0 0) | h]; last apply/matrixP => a b; rewrite !mxE sum2 !mxE /= mul1r mul0r addr0 //.
by rewrite ord1.
Qed.

Lemma CE (A : 'M[R]_2) (v : 'cV[R]_2) : centre R 2 *m A *m v = 0 -> (A *m v) i0 0 = (A *m v) i1 0.
Proof.
rewrite -mulmxA /centre mulmxBl mul1mx -scalemxAl -mulmxA scalemxAr => /eqP; rewrite subr_eq0 => /eqP/matrixP h.
by rewrite (h i0 0) (h i1 0) !onesE.
Qed.
Lemma right10 (A : 'M[R]_2) : kills_null_right X10 A <-> A i0 i1 = A i1 i1.
Proof.
split=> [h | e v /ker10 v0].
  have /h/CE : X10 *m (delta_mx i1 0 : 'cV[R]_2) = 0 by apply/ker10; rewrite mxE.
  by rewrite -colE !mxE.
have -> : centre R 2 *m A *m v = centre R 2 *m (0 + ones R 2 *m (\row_j (A i1 i1 * v i1 0))).
  rewrite -mulmxA add0r; congr (_ *m _); apply/matrixP => i j; rewrite onesE mxE sum2 ord1 v0 mulr0 add0r mxE.
  suff -> : A i i1 = A i1 i1 by [].
  case: i => -[|[|]] // hi; first by rewrite -e; congr (A _ _); apply: val_inj.
  by congr (A _ _); apply: val_inj.
by rewrite add0r mulmxA centre_ones ?pnatr_eq0 // mul0mx.
Qed.
Lemma left10 (A : 'M[R]_2) : kills_null_left X10 A.
Proof.
move=> u /ker10 u0 /matrixP/(_ 0 0); rewrite [LHS]mxE sum2 [RHS]mxE [_^T _ _]mxE [X in X * _]mxE u0 mulr0 add0r 2!mxE mul1r => u1.
by apply/matrixP => i j; rewrite [LHS]mxE sum2 [RHS]mxE ![u^T _ _]mxE !(ord1 i) u0 u1 !mul0r addr0.
Qed.
(* so Theorem B on X = [1, 0]: P is a context of a head of size 1 iff its second column is uniform *)
Lemma thmB10 (P : 'M[R]_2) : stochastic P ->
  (exists Wk Wq : 'M_(1, 1), context 1 X10 Wk Wq = P) <-> P i0 i1 = P i1 i1.
Proof.
move=> sP; have sP' := sP; case: sP' => P0 _.
apply: iff_trans (theorem_b_softmax X10 (ltn0Sn 1) (oner_neq0 R) sP 1) _.
split=> [[/right10 + _ _] | e].
  by rewrite !mxE => /(congr1 expR); rewrite !lnK ?posrE.
split; [by apply/right10; rewrite !mxE e | exact: left10 |].
by rewrite -ltnS; apply: logrank_lt; rewrite ?pnatr_eq0.
Qed.
End S.
(* the hypotheses of Theorem 2 can be met: two heads of size 1 against two of size 2 *)
Definition theorem_2_met (R : expField) := @theorem_2_b20_witness R 2 1 2 erefl erefl erefl.
