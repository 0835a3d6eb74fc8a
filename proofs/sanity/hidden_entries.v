(* Test of the count of new rows: hidden entries do not count, rows are keys. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_1 almost_all theorem_1_more theorem_1_dense theorem_b theorem_b_softmax theorem_c theorem_c_generic theorem_c_softmax theorem_c_causal theorem_2_inclusion theorem_2_separation theorem_2_b20 variants.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.
(* hidden entries do not count, rows are keys: D = [[1,1],[0,1]], causal: one new row though rank 2 *)
Section C.
Variable F : fieldType.
Definition D : 'M[F]_2 := \matrix_(i, j) (i <= j)%N%:R.
Lemma one_new : new_rows (@causal 2) D = 1%N.
Proof.
apply/eqP; rewrite eqn_leq; apply/andP; split.
  apply/(completion_rank (@causal_nested 2)); exists (const_mx 1); first by move=> i j v; rewrite !mxE (v : (i <= j)%N).
  have -> : const_mx 1 = const_mx 1 *m (const_mx 1 : 'M[F]_(1, 2)) :> 'M[F]_2.
    by apply/matrixP => i j; rewrite !mxE big_ord1 !mxE mul1r.
  exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
rewrite lt0n; apply/eqP => e; have [M hM] := (completion_rank (@causal_nested 2) D 0).2 (eq_leq e).
rewrite leqn0 mxrank_eq0 => /eqP M0; have := hM ord0 ord0 isT; rewrite M0 !mxE => /eqP.
by rewrite eq_sym oner_eq0.
Qed.
End C.
