(* Stationary points of full rank are exact: section 1 of docs/theory.md. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model linalg softmax_gauge.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

(* Keys A of n - 1 rows and rank n - 1, and columns of G that sum to 0, as those of (Q - P) / n do. If the
   gradient A G in the queries is 0 then G is, where the kernel of A is not orthogonal to 1. *)
Theorem stationary (F : fieldType) n (A : 'M[F]_(n, n.+1)) (v : 'cV_n.+1) (G : 'M_n.+1) :
  \rank A = n -> A *m v = 0 -> (ones F n.+1)^T *m v != 0 -> (ones F n.+1)^T *m G = 0 -> A *m G = 0 -> G = 0.
Proof.
move=> rA Av v1 G1 AG.
suff fr : row_full (col_mx A (ones F n.+1)^T).
  have /row_fullP [Y YA] := fr; rewrite -[G]mul1mx -YA -mulmxA mul_col_mx AG G1.
  by rewrite col_mx0 mulmx0.
rewrite /row_full eqn_leq rank_leq_col /= -addsmxE; apply: leq_trans (_ : \rank A < _)%N; first by rewrite rA.
apply: rank_ltmx; rewrite ltmxE addsmxSl /= addsmx_sub submx_refl /=.
by apply: contra v1 => /submxP [u ->]; rewrite -mulmxA Av mulmx0.
Qed.

(* so for Q = softmax (A^T B) and P with columns that sum to 1 *)
Theorem stationary_softmax (R : expField) n (A B : 'M[R]_(n, n.+1)) (v : 'cV_n.+1) (P : 'M[R]_n.+1) :
  \rank A = n -> A *m v = 0 -> \sum_i v i 0 != 0 -> (forall j, \sum_i P i j = 1) ->
  A *m (softmax (A^T *m B) - P) = 0 -> softmax (A^T *m B) = P.
Proof.
move=> rA Av v1 P1 AG; apply/eqP; rewrite -subr_eq0; apply/eqP; apply: stationary rA Av _ _ AG.
  apply: contraNneq v1 => /matrixP/(_ 0 0); rewrite !mxE => e; apply/eqP; rewrite -[RHS]e.
  by apply: eq_bigr => i _; rewrite !mxE mul1r.
have [_ Q1] := softmax_stochastic (A^T *m B) (ltn0Sn n).
have sum (M : 'M[R]_n.+1) i j : ((ones R n.+1)^T *m M) i j = \sum_l M l j.
  by rewrite mxE; apply: eq_bigr => l _; rewrite !mxE mul1r.
by apply/matrixP => i j; rewrite mulmxBr mxE [X in _ + X]mxE !sum Q1 P1 subrr mxE.
Qed.
