(* B20's layers as printed, MultiHead(X) = Wo Concat(head_1, ..., head_h): the heads stacked and multiplied by one
   matrix. Theorem 2 in this form; the number of weights. *)
From mathcomp Require Import all_ssreflect all_algebra zify.
From rankbound Require Import model exponential linalg theorem_2_inclusion theorem_2_separation theorem_2_b20.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Concat.
Variables (R : expField) (d h : nat).

(* sum_i Wo_i head_i is Wo applied to the heads stacked, Wo = [Wo_1 ... Wo_h] *)
Theorem layer_concat k v (s : R) (Wo : 'M_(d, \sum_(i < h) v)) Wv (Wk Wq : 'I_h -> 'M_(k, d)) n (X : 'M[R]_(d, n)) :
  Wo *m (\mxcol_i (Wv i *m X *m context s X (Wk i) (Wq i))) = layer s (submxrow Wo) Wv Wk Wq X.
Proof.
by rewrite -{1}[Wo]submxrowK mul_mxrow_mxcol; apply: eq_bigr => i _; rewrite !mulmxA.
Qed.

(* and the value product [Wo_1 ... Wo_h] [Wv_1; ...; Wv_h] is the sum of the Wo_i Wv_i *)
Lemma values_concat v (Wo : 'M[R]_(d, \sum_(i < h) v)) (Wv : 'I_h -> 'M_(v, d)) :
  Wo *m (\mxcol_i Wv i) = \sum_i submxrow Wo i *m Wv i.
Proof. by rewrite -{1}[Wo]submxrowK mul_mxrow_mxcol. Qed.
End Concat.

(* B20, Theorem 2, in the block form of the paper: MultiHead(X) = Wo Concat(head_1, ..., head_h) *)
Theorem concat_inclusion (R : expField) h r dp
    (Wo : 'M[R]_(h * r, \sum_(i < h) r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, h * r)) :
  (0 < r)%N -> (r <= dp)%N ->
  exists (Vo : 'M[R]_(h * r, \sum_(i < h) dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, h * r)),
  forall n (X : 'M_(h * r, n)),
    Vo *m (\mxcol_i (Vv i *m X *m context (temperature R dp) X (Vk i) (Vq i))) =
    Wo *m (\mxcol_i (Wv i *m X *m context (temperature R r) X (Wk i) (Wq i))).
Proof.
move=> r0 rdp; have [Vo [Vv [Vk [Vq e]]]] := theorem_2_b20_inclusion r0 rdp (submxrow Wo) Wv Wk Wq.
exists (\mxrow_i Vo i), Vv, Vk, Vq => n X; rewrite !layer_concat -e.
by apply: eq_bigr => i _; rewrite mxrowK.
Qed.

(* Vo [Vv_1; ...; Vv_h] of rank d = h r, Vk_i^T Vq_i = U of rank dp > r: no layer of heads of size r is this one *)
Theorem concat_separation (R : expField) h r dp m
    (Vo : 'M[R]_(h * r, \sum_(i < h) dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, h * r)) (U : 'M[R]_(h * r)) :
  (0 < r)%N -> (r < dp)%N -> \rank (Vo *m (\mxcol_i Vv i))%R = (h * r)%N ->
  (forall i, (Vk i)^T *m Vq i = U) -> \rank U = dp ->
  forall (Wo : 'M[R]_(h * r, \sum_(i < h) r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, h * r)),
  exists X : 'M_(h * r, m.+2),
    Wo *m (\mxcol_i (Wv i *m X *m context (temperature R r) X (Wk i) (Wq i))) <>
    Vo *m (\mxcol_i (Vv i *m X *m context (temperature R dp) X (Vk i) (Vq i))).
Proof.
move=> r0 rdp; rewrite values_concat => rA hU rU Wo Wv Wk Wq.
have [X hX] := theorem_2_b20_separation m rdp rA hU rU (submxrow Wo) Wv Wk Wq.
by exists X; rewrite !layer_concat.
Qed.

(* the weights of a layer, 2 h d (k + v): 4 d^2 for h heads of size d / h, 4 d dp h for heads of size dp *)
Definition parameters d h k v := (\sum_(i < h) (d * v + v * d + k * d + k * d))%N.

Theorem parameter_count d h k v : parameters d h k v = (2 * h * d * (k + v))%N.
Proof. by rewrite /parameters sum_nat_const card_ord; lia. Qed.

Corollary parameter_counts h r dp : parameters (h * r) h r r = (4 * (h * r) ^ 2)%N /\
  parameters (h * r) h dp dp = (4 * (h * r) * dp * h)%N.
Proof. by rewrite !parameter_count; split; rewrite ?expnS ?expn0; lia. Qed.
