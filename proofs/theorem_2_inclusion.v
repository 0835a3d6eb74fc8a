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

(* heads of size k and values of size v are heads of any larger sizes, at any other scale s' <> 0: the
   same function of X *)
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
End Layer.
