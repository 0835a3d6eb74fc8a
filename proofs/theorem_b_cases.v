(* Theorem B for the context of a head, by its logits L: the least head size is rank (C L), and that is rank L
   where 1 is not in the row space of the tokens. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_b theorem_b_softmax.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Cases.
Variables (R : expField) (d n h : nat) (s : R) (X : 'M[R]_(d, n)) (Wk Wq : 'M[R]_(h, d)).
Hypothesis n0 : (0 < n)%N.
Local Notation L := (logits s X Wk Wq).

(* logits that differ by 1 c^T have the same log-rank, rank (C L) *)
Lemma logrank_softmax (M : 'M[R]_n) : logrank (softmax M) = \rank (centre R n *m M).
Proof.
have [c e] := (softmax_eq M (softmax_stochastic M n0)).1 erefl.
by rewrite /logrank -(centre_gauge (nR0 R n0) (logm (softmax M)) c) -e.
Qed.

(* the context of a head with the logits L: the head sizes that have it are rank (C L) and more *)
Theorem least_size_of_logits k : s != 0 ->
  reachable k s X (softmax L) <-> (\rank (centre R n *m L) <= k)%N.
Proof.
move=> s0; rewrite -logrank_softmax.
by apply: (least_head_size n0 s0 (softmax_stochastic L n0) k (k0 := h) (Wk0 := Wk) (Wq0 := Wq)).
Qed.

(* 1 not in the row space of X: centring takes no rank from L *)
Theorem forced_gauge_rank : ~~ ((ones R n)^T <= X)%MS -> \rank (centre R n *m L) = \rank L.
Proof.
case/not_submx_witness => w0 Xw0 nz.
have e : (ones R n)^T *m w0 = (((ones R n)^T *m w0) 0 0)%:M by rewrite -mx11_scalar.
have nz0 : ((ones R n)^T *m w0) 0 0 != 0 by apply: contraNneq nz => z; rewrite e z raddf0.
pose w := (((ones R n)^T *m w0) 0 0)^-1 *: w0.
have w1 : (ones R n)^T *m w = 1%:M by rewrite /w -scalemxAr {2}e scale_scalar_mx mulVf.
have wL : w^T *m L = 0.
  have Xw : X *m w = 0 by rewrite /w -scalemxAr Xw0 scaler0.
  by rewrite /logits -scalemxAr trmx_mul !mulmxA -trmx_mul Xw trmx0 !mul0mx scaler0.
apply/eqP; rewrite eqn_leq mxrankM_maxr /=.
have {1}<- : (1%:M - ones R n *m w^T) *m L = L by rewrite mulmxBl mul1mx -mulmxA wL mulmx0 subr0.
by rewrite (gauge_weights L w1) mxrankM_maxr.
Qed.
End Cases.
