(* B20 Theorem 2 as printed: h heads of size d/h against h heads of a fixed size dp. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_2_inclusion theorem_2_separation.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section B20.
Variables (R : expField) (h r dp : nat).
Hypotheses r0 : (0 < r)%N.
Local Notation d := (h * r)%N.
Local Notation temperature := (@model.temperature R).

Lemma temperature_neq0 k : (0 < k)%N -> temperature k != 0.
Proof. by move=> k0; rewrite invr_eq0 sqrtr_eq0 -ltNge ltr0n. Qed.

(* F is in G: heads of size d/h = r <= dp are heads of size dp. *)
Theorem theorem_2_b20_inclusion (rdp : (r <= dp)%N) (Wo : 'I_h -> 'M[R]_(d, r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, d)) :
  exists (Vo : 'I_h -> 'M[R]_(d, dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, d)), forall n (X : 'M_(d, n)),
    layer (temperature dp) Vo Vv Vk Vq X = layer (temperature r) Wo Wv Wk Wq X.
Proof.
have [|Vo [Vv [Vk [Vq e]]]] := theorem_2_inclusion (temperature r) (s' := temperature dp) Wo Wv Wk Wq rdp rdp.
  by apply: temperature_neq0; apply: leq_trans rdp.
by exists Vo, Vv, Vk, Vq.
Qed.

(* The second half as printed: no f in F is such a g, on any length n = m + 2 >= 2. *)
Theorem theorem_2_b20_separation m (Vo : 'I_h -> 'M[R]_(d, dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, d))
    (U : 'M[R]_d) :
  (r < dp)%N -> \rank (\sum_i Vo i *m Vv i)%R = d -> (forall i, (Vk i)^T *m Vq i = U) -> \rank U = dp ->
  forall (Wo : 'I_h -> 'M[R]_(d, r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, d)), exists X : 'M_(d, m.+2),
    layer (temperature r) Wo Wv Wk Wq X <> layer (temperature dp) Vo Vv Vk Vq X.
Proof.
move=> rdp rA hU rU Wo Wv Wk Wq.
apply: (@theorem_2_separation R _ m h h r r dp dp _ _ Wo Wv Wk Wq _ _ _ _ U) => //.
by apply: temperature_neq0; apply: leq_trans rdp.
Qed.

(* Such a g exists, the same for all lengths. *)
Hypothesis rdp : (r < dp)%N.
(* value projections of rank r that sum to the identity *)
Definition slot i : 'M[R]_(d, dp) := \matrix_(a, b) ((b < r)%N && (a == i * r + b :> nat)%N)%:R.

Lemma sum_slots : \sum_(i < h) slot i *m (slot i)^T = 1%:M.
Proof.
apply/matrixP => a c; rewrite summxE mxE.
have ah : (a %/ r < h)%N by rewrite ltn_divLR.
have ar : (a %% r < r)%N by rewrite ltn_mod.
rewrite (bigD1 (Ordinal ah)) //= [X in _ + X]big1 ?addr0 => [|i ne]; last first.
  rewrite mxE big1 // => b _; rewrite !mxE; case: ltnP => br; rewrite ?mul0r //=.
  case: eqP => e; rewrite ?mul0r //; case/eqP: ne; apply: val_inj => /=.
  by rewrite e divnMDl // divn_small // addn0.
rewrite mxE (bigD1 (Ordinal (ltn_trans ar rdp))) //= big1 ?addr0 => [|b ne]; last first.
  rewrite !mxE; case: ltnP => br; rewrite ?mul0r //=.
  case: eqP => e; rewrite ?mul0r //; case/eqP: ne; apply: val_inj => /=.
  by rewrite e modnMDl modn_small.
by rewrite !mxE /= ar /= -divn_eq eqxx mul1r eq_sym.
Qed.

Theorem theorem_2_b20_witness : (dp <= d)%N ->
  exists (Vo : 'I_h -> 'M[R]_(d, dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, d)),
  forall m (Wo : 'I_h -> 'M[R]_(d, r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, d)), exists X : 'M_(d, m.+2),
    layer (temperature r) Wo Wv Wk Wq X <> layer (temperature dp) Vo Vv Vk Vq X.
Proof.
move=> dpd; exists slot, (fun i => (slot i)^T), (fun=> pid_mx dp), (fun=> pid_mx dp) => m.
apply: (theorem_2_b20_separation _ (U := pid_mx dp)) => //; first by rewrite sum_slots mxrank1.
  by move=> _; rewrite tr_pid_mx mul_pid_mx !minnn.
by rewrite rank_pid_mx.
Qed.
End B20.
