(* B20's example for Theorem 1: on X = [1, 0] the contexts are those with a uniform second column. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_b theorem_b_softmax.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Example.
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

(* so Theorem B on X = [1, 0]: a head of size k has P iff its second column is uniform and logrank P <= k *)
Theorem example_contexts s k (P : 'M[R]_2) : s != 0 -> stochastic P ->
  reachable k s X10 P <-> P i0 i1 = P i1 i1 /\ (logrank P <= k)%N.
Proof.
move=> s0 sP; have [P0 _] := sP.
apply: iff_trans (theorem_b_softmax X10 (ltn0Sn 1) s0 sP k) _.
split=> [[/right10 + _ rk] | [e rk]].
  by rewrite !mxE => /(congr1 expR); rewrite !lnK ?posrE.
by split=> //; [apply/right10; rewrite !mxE e | exact: left10].
Qed.

(* at the scale 0 too the second column is uniform *)
Lemma second_uniform s k (P : 'M[R]_2) : reachable k s X10 P -> P i0 i1 = P i1 i1.
Proof.
case=> Wk [Wq <-].
have z : X10 *m (delta_mx i1 0 : 'cV[R]_2) = 0 by apply/ker10; rewrite mxE.
have c : col i1 (logits s X10 Wk Wq) = 0 by rewrite colE /logits -scalemxAl -!mulmxA z !mulmx0 scaler0.
have E i : logits s X10 Wk Wq i i1 = 0 by have /matrixP/(_ i 0) := c; rewrite mxE [RHS]mxE.
by rewrite !softmaxE !E.
Qed.

(* columns (a, 1 - a) and (b, 1 - b) *)
Definition columns (a b : R) : 'M[R]_2 :=
  \matrix_(i, j) let p := if j == i0 then a else b in if i == i0 then p else 1 - p.

Lemma columns_stochastic a b : 0 < a < 1 -> 0 < b < 1 -> stochastic (columns a b).
Proof.
move=> /andP [a0 a1] /andP [b0 b1]; split=> [i j | j].
  by rewrite mxE; do 2 case: eqP => _; rewrite ?subr_gt0.
by rewrite sum2 !mxE /= addrC subrK.
Qed.

(* the log-rank of two columns of which the second is uniform is 0 or 1 *)
Lemma columns_logrank a : 0 < a < 1 -> a != 2%:R^-1 -> logrank (columns a 2%:R^-1) = 1%N.
Proof.
move=> a01 nz; have h01 : 0 < (2%:R^-1 : R) < 1 by rewrite invr_gt0 ltr0n invf_lt1 ?ltr0n ?ltr1n.
have [P0 _] := columns_stochastic a01 h01.
apply/eqP; rewrite eqn_leq; apply/andP; split; first by rewrite -ltnS; apply: logrank_lt; rewrite ?pnatr_eq0.
rewrite lt0n mxrank_eq0; apply: contra nz => /eqP z.
have : centre R 2 *m logm (columns a 2%:R^-1) *m (delta_mx i0 0 : 'cV_2) = 0 by rewrite z mul0mx.
move/CE; rewrite -colE !mxE /= => /(congr1 expR).
have := P0 i0 i0; have := P0 i1 i0; rewrite !mxE /= => p1 p0; rewrite !lnK ?posrE // => e.
apply/eqP; apply: (@mulfI _ (2%:R : R)); rewrite ?pnatr_eq0 // divff ?pnatr_eq0 //.
by rewrite mulr_natl mulr2n {2}e addrC subrK.
Qed.

Theorem example_decided :
  (forall s k, ~ reachable k s X10 (columns (1 / 2%:R) (3%:R / 4%:R))) /\
  (forall s k, s != 0 -> reachable k s X10 (columns (3%:R / 5%:R) (1 / 2%:R)) <-> (1 <= k)%N).
Proof.
have lt1 a b : (0 < a < b)%N -> 0 < (a%:R / b%:R : R) < 1.
  case/andP=> a0 ab; have b0 := ltn_trans a0 ab.
  by rewrite divr_gt0 ?ltr0n // ltr_pdivr_mulr ?ltr0n // mul1r ltr_nat.
have ne a b c e : (0 < b)%N -> (0 < e)%N -> (a * e != c * b)%N -> a%:R / b%:R != c%:R / e%:R :> R.
  by move=> b0 e0 nz; rewrite eqr_div ?pnatr_eq0 -?lt0n // -!natrM eqr_nat.
split=> [s k /second_uniform/eqP | s k s0].
  rewrite !mxE /= (_ : 1 - _ = 1%:R / 4%:R); first by apply/negP; apply: (ne 3%N 4%N 1%N 4%N).
  by apply/eqP; rewrite subr_eq -mulrDl -natrD divff // pnatr_eq0.
have h01 : 0 < (2%:R^-1 : R) < 1 by rewrite -div1r; apply: (lt1 1%N 2%N isT).
have sP := columns_stochastic (lt1 3%N 5%N isT) h01.
rewrite div1r; apply: iff_trans (example_contexts k s0 sP) _.
rewrite columns_logrank ?(lt1 3%N 5%N isT) //; last by rewrite -(div1r 2%:R); apply: (ne 3%N 5%N 1%N 2%N).
split=> [[_] // | k1]; split=> //; rewrite !mxE /=.
by apply: (@mulIf _ 2%:R); rewrite ?pnatr_eq0 // mulrBl mulVf ?pnatr_eq0 // mul1r mulr2n addrK.
Qed.
End Example.
