(* Theorem B for softmax heads, and the least head size. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_b.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Real.
Variables (R : expField) (d n : nat) (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n).
Hypotheses (n0 : (0 < n)%N) (s0 : s != 0) (sP : stochastic P).

(* the same for A = log P: P is the context of a head of size k on X *)
Theorem theorem_b_softmax k :
  (exists Wk Wq : 'M_(k, d), context s X Wk Wq = P)
  <-> [/\ kills_null_right X (logm P), kills_null_left X (logm P) & (logrank P <= k)%N].
Proof.
apply: iff_trans (theorem_b k (nR0 R n0) X (logm P)).
split=> [[Wk [Wq /(contextP _ _ sP) [c h]]] | [Wk [Wq [c h]]]]; first by exists Wk, (s *: Wq), c.
exists Wk, (s^-1 *: Wq); apply/(contextP _ _ sP); exists c.
by rewrite scalerA divff // scale1r.
Qed.

(* whenever some head has P on X, the least head size is logrank P *)
Corollary least_head_size k0 k (Wk0 Wq0 : 'M_(k0, d)) : context s X Wk0 Wq0 = P ->
  (exists Wk Wq : 'M_(k, d), context s X Wk Wq = P) <-> (logrank P <= k)%N.
Proof.
move=> h; have [hr hl _] := (theorem_b_softmax k0).1 (ex_intro _ Wk0 (ex_intro _ Wq0 h)).
by split=> [/theorem_b_softmax [] | hk] //; apply/theorem_b_softmax.
Qed.
End Real.
