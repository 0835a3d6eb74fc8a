(* After layer norm. Tokens in an affine subspace, X = D Z + b 1^T with Z of e rows (layer norm
   with gain and shift: e = d - 1, as the normalised tokens have mean 0): whatever the size of
   the head, and with biases on keys and queries, the centred logits have rank at most rank Z <= e;
   so has the centred log-context. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Affine.
Variables (F : fieldType) (d e n k : nat).
Hypothesis n_unit : (n%:R : F) != 0.
Variables (D : 'M[F]_(d, e)) (Z : 'M[F]_(e, n)) (b : 'cV[F]_d).
Local Notation one := (ones F n).
Local Notation X := (D *m Z + b *m one^T).

(* keys Wk X + bk 1^T, any queries Q: rank C K^T Q <= rank Z *)
Theorem affine_tokens (Wk : 'M_(k, d)) (bk : 'cV_k) (Q : 'M_(k, n)) :
  (\rank (centre F n *m ((Wk *m X + bk *m one^T)^T *m Q)) <= \rank Z)%N.
Proof.
rewrite mulmxA.
have -> : centre F n *m (Wk *m X + bk *m one^T)^T = (Wk *m D *m Z *m (centre F n)^T)^T.
  rewrite mulmxDr !mulmxA -addrA -mulmxDl linearD /= [(_ *m one^T)^T]trmx_mul trmxK.
  by rewrite mulmxDr [X in _ + X]mulmxA (centre_ones n_unit) mul0mx addr0 [RHS]trmx_mul trmxK.
apply: leq_trans (mxrankM_maxl _ _) _; rewrite mxrank_tr.
exact: leq_trans (mxrankM_maxl _ _) (mxrankM_maxr _ _).
Qed.
End Affine.

Section LayerNorm.
Variable F : fieldType.

(* columns of mean 0 *)
Lemma rank_mean0 d n (Z : 'M[F]_(d.+1, n)) : (ones F d.+1)^T *m Z = 0 -> (\rank Z <= d)%N.
Proof.
move=> h; rewrite -ltnS ltn_neqAle rank_leq_row andbT; apply/negP => /eqP r.
have /row_freeP [Y hY] : row_free Z by rewrite /row_free r.
have : (ones F d.+1)^T = 0 by rewrite -[LHS]mulmx1 -hY mulmxA h mul0mx.
by move/matrixP/(_ 0 0); rewrite !mxE => /eqP; rewrite oner_eq0.
Qed.

Variables (d n k : nat) (g : 'rV[F]_d.+1) (b : 'cV[F]_d.+1) (Z : 'M[F]_(d.+1, n)).
Hypotheses (n_unit : (n%:R : F) != 0) (mean0 : (ones F d.+1)^T *m Z = 0).
Let X := diag_mx g *m Z + b *m (ones F n)^T.

(* layer norm: rank C K^T Q <= d for tokens of dimension d + 1 *)
Theorem layer_norm_rank (Wk : 'M_(k, d.+1)) (bk : 'cV_k) (Q : 'M_(k, n)) :
  (\rank (centre F n *m ((Wk *m X + bk *m (ones F n)^T)^T *m Q)) <= d)%N.
Proof. exact: leq_trans (affine_tokens n_unit _ _ _ _ _ _) (rank_mean0 mean0). Qed.
End LayerNorm.

(* the centred log-context of a softmax head of any size k on layer-normed tokens of dimension d + 1 *)
Theorem layer_norm_logrank (R : expField) d n k (s : R) (g : 'rV_d.+1) (b : 'cV_d.+1)
    (Z : 'M_(d.+1, n)) (Wk Wq : 'M_(k, d.+1)) : (0 < n)%N -> (ones R d.+1)^T *m Z = 0 ->
  (logrank (context s (diag_mx g *m Z + b *m (ones R n)^T)%R Wk Wq) <= d)%N.
Proof.
move=> n0 mean0; have nR := nR0 R n0.
set X := (_ + _)%R; have sP := softmax_stochastic (logits s X Wk Wq) n0.
have [c h] := (softmax_eq _ sP).1 erefl.
rewrite /logrank /context -(centre_gauge nR _ c) -h /logits scalemxAr.
have := @layer_norm_rank _ d n k g b Z nR mean0 Wk 0 (s *: (Wq *m X)).
by rewrite mul0mx addr0.
Qed.
