(* Layers of heads; B20 Theorem 2, inclusion. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Layer.
Variables (R : expField) (d h : nat).

Lemma pid_mxK r e : (r <= e)%N -> (pid_mx r : 'M[R]_(r, e)) *m (pid_mx r : 'M_(e, r)) = 1%:M.
Proof. by move=> re; rewrite mul_pid_mx minnn (minn_idPr re) pid_mx_1. Qed.

(* h heads of size k and value size v at scale s are h heads of size k' >= k and value size v' >= v at
   scale s' <> 0: the same function of X, for every number n of tokens. *)
Theorem theorem_2_inclusion k v k' v' (s s' : R) Wo Wv Wk Wq :
  (k <= k')%N -> (v <= v')%N -> s' != 0 ->
  exists Wo' Wv' Wk' Wq', forall n (X : 'M_(d, n)),
    @layer R d h k' v' s' Wo' Wv' Wk' Wq' n X = @layer R d h k v s Wo Wv Wk Wq n X.
Proof.
move=> kk vv s0.
exists (fun i => Wo i *m pid_mx v), (fun i => pid_mx v *m Wv i).
exists (fun i => pid_mx k *m Wk i), (fun i => (s / s') *: (pid_mx k *m Wq i)) => n X.
apply: eq_bigr => i _; congr (_ *m _ *m softmax _).
  by rewrite mulmxA -(mulmxA (Wo i)) pid_mxK // mulmx1.
rewrite /logits -scalemxAl -scalemxAr scalerA mulrCA divff // mulr1; congr (_ *: _).
by rewrite !trmx_mul tr_pid_mx !mulmxA -(mulmxA _ (pid_mx k)) pid_mxK // mulmx1.
Qed.
(* The wider layer in closed form: e zero rows below keys and queries, w below the values and w zero columns
   beside the output projections; the queries take the factor s / s'. *)
Theorem widened_layer k v e w (s s' : R) (Wo : 'I_h -> 'M_(d, v)) (Wv : 'I_h -> 'M_(v, d))
    (Wk Wq : 'I_h -> 'M_(k, d)) n (X : 'M_(d, n)) : s' != 0 ->
  layer s' (fun i => row_mx (Wo i) (0 : 'M_(d, w))) (fun i => col_mx (Wv i) (0 : 'M_(w, d)))
    (fun i => col_mx (Wk i) (0 : 'M_(e, d))) (fun i => (s / s') *: col_mx (Wq i) (0 : 'M_(e, d))) X =
  layer s Wo Wv Wk Wq X.
Proof.
move=> s0; apply: eq_bigr => i _; congr (_ *m _ *m softmax _).
  by rewrite mul_row_col mul0mx addr0.
rewrite /logits -scalemxAl -scalemxAr scalerA mulrCA divff // mulr1; congr (_ *: _).
by rewrite !mul_col_mx !mul0mx tr_col_mx trmx0 mul_row_col mul0mx addr0.
Qed.

(* On one token every context is 1: a layer is the matrix Σ Wo_i Wv_i, whatever keys, queries, sizes, scale. *)
Theorem single_token k v (s : R) (Wo : 'I_h -> 'M_(d, v)) (Wv : 'I_h -> 'M_(v, d))
    (Wk Wq : 'I_h -> 'M_(k, d)) (x : 'M_(d, 1)) :
  layer s Wo Wv Wk Wq x = (\sum_i Wo i *m Wv i) *m x.
Proof.
rewrite mulmx_suml; apply: eq_bigr => i _; suff -> : context s x (Wk i) (Wq i) = 1%:M by rewrite mulmx1.
by apply/matrixP => a b; rewrite softmaxE big_ord1 !ord1 divff ?lt0r_neq0 ?expR_gt0 // mxE.
Qed.
End Layer.
