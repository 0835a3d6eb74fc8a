(* What architecture changes do to the bound (section 6), a selection. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_c theorem_c_softmax.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Variants.
Variables (R : expField) (n : nat).
Hypothesis n0 : (0 < n)%N.
Local Notation one := (ones R n).

(* any keys and queries: RoPE, QK-norm, temperatures change the factors only *)
Theorem factors_bound k (K Q : 'M[R]_(k, n)) : (logrank (softmax (K^T *m Q)) <= k)%N.
Proof.
have sP := softmax_stochastic (K^T *m Q) n0.
have [c h] := (softmax_eq _ sP).1 erefl.
apply: leq_trans (logrank_le (nR0 R n0) _ c) _; rewrite -h.
by apply: leq_trans (mxrankM_maxl _ _) _; rewrite mxrank_tr rank_leq_row.
Qed.

(* biases: a head without, on tokens with a row of ones *)
Theorem biases d k (X : 'M[R]_(d, n)) (W : 'M_(k, d)) (b : 'cV_k) :
  W *m X + b *m one^T = row_mx W b *m col_mx X one^T.
Proof. by rewrite mul_row_col. Qed.

(* Keys K and queries Q: a bias b on the keys leaves the context as it is. *)
Theorem key_bias k (K Q : 'M[R]_(k, n)) (b : 'cV_k) :
  softmax ((K + b *m one^T)^T *m Q) = softmax (K^T *m Q).
Proof.
apply/softmax_gauge; exists (b^T *m Q).
by rewrite linearD /= trmx_mul trmxK mulmxDl addrC addKr mulmxA.
Qed.

(* without a mask: a signed distance m (i - j) costs at most 1 *)
Definition distances (m : R) : 'M[R]_n := \matrix_(i, j) (m * (i%:R - j%:R)).

(* Logits K^T Q + m (i - j), K and Q of k rows, no mask, n >= 1: log-rank at most k + 1. *)
Theorem signed_distance k (K Q : 'M[R]_(k, n)) m : (logrank (softmax (K^T *m Q + distances m)%R) <= k.+1)%N.
Proof.
pose pos : 'rV[R]_n := \row_i i%:R.
have -> : softmax (K^T *m Q + distances m) = softmax ((col_mx K pos)^T *m col_mx Q (m *: one^T)).
  apply/softmax_gauge; exists (- (m *: pos)); rewrite tr_col_mx mul_row_col opprD addrACA subrr add0r.
  by apply/matrixP => i j; rewrite onesE !mxE !big_ord1 !mxE mulr1 mulrBr [_ * m]mulrC addrAC subrr add0r.
by apply: leq_trans (factors_bound _ _) _; rewrite -[k.+1]addn1.
Qed.

(* Logits K^T Q + B, K and Q of k rows, n >= 1: rank C (log P - B) <= k. *)
Theorem known_bias k (K Q : 'M[R]_(k, n)) (B : 'M[R]_n) :
  (\rank (centre R n *m (logm (softmax (K^T *m Q + B)%R) - B)%R) <= k)%N.
Proof.
have sP := softmax_stochastic (K^T *m Q + B) n0.
have [c e] := (softmax_eq _ sP).1 erefl.
rewrite -(centre_gauge (nR0 R n0) _ c) addrAC -e addrK.
apply: leq_trans (mxrankM_maxr _ _) _; apply: leq_trans (mxrankM_maxl _ _) _; by rewrite mxrank_tr rank_leq_row.
Qed.
(* X of full column rank, n >= 1, s <> 0: positive contexts P_1, ..., P_g are those of heads of size k
   that share keys iff rank [C log P_1, ..., C log P_g] <= k. *)
Theorem shared_keys d g k s (X : 'M[R]_(d, n)) (P : 'I_g -> 'M_n) :
  s != 0 -> \rank X = n -> (forall a, stochastic (P a)) ->
  (exists (Wk : 'M_(k, d)) (Wq : 'I_g -> 'M_(k, d)), forall a, context s X Wk (Wq a) = P a)
  <-> (\rank (\sum_a <<(centre R n *m logm (P a))^T>>)%MS <= k)%N.
Proof.
move=> s0 rX sP; set S := (\sum_a _)%MS; split=> [[Wk [Wq h]] | hk].
  apply: leq_trans (_ : \rank (Wk *m X *m (centre R n)^T) <= k)%N; last first.
    by rewrite -mulmxA; apply: leq_trans (mxrankM_maxl _ _) (rank_leq_row _).
  apply: mxrankS; apply/sumsmx_subP => a _; rewrite genmxE.
  have /(contextP _ _ (sP a)) [c e] := h a.
  rewrite -(centre_gauge (nR0 R n0) _ c) -e.
  by rewrite trmx_mul (trmx_mul _ (s *: _ *m _)) trmxK -(mulmxA _^T) submxMl.
have [U [V e]] := (rank_factor k S).1 hk.
have /row_fullP [Y hY] : row_full X by rewrite /row_full rX.
have f a : exists B : 'M_(k, n), centre R n *m logm (P a) = V^T *m B.
  have /submxP [T hT] : ((centre R n *m logm (P a))^T <= S)%MS.
    by rewrite (sumsmx_sup a) ?genmxE.
  by exists (T *m U)^T; apply: trmx_inj; rewrite hT -e trmx_mul !trmxK mulmxA.
have [B hB] := fin_all_exists f.
exists (V *m Y), (fun a => s^-1 *: (B a *m Y)) => a; apply/(contextP _ _ (sP a)).
have [c hc] := logrank_attained (logm (P a)); exists c.
by rewrite scalerA divff // scale1r -!mulmxA hY !mulmx1 -hB hc.
Qed.
End Variants.

(* ALiBi under a causal mask, n >= 1 tokens: logits K^T Q - m |i - j|, K and Q of k rows, have masked
   log-rank at most k + 1. *)
Theorem alibi_causal (R : expField) n k (K Q : 'M[R]_(k, n.+1)) (m : R) :
  (masked_logrank (@causal n.+1) ord0 (msoftmax (@causal n.+1) (\matrix_(i, j) ((K^T *m Q) i j - m * `|i%:R - j%:R|)%R)) <= k.+1)%N.
Proof.
set L := \matrix_(i, j) _; pose pos : 'rV[R]_n.+1 := \row_i i%:R.
have eq : forall i j, causal i j -> (L + ones R n.+1 *m (m *: pos)) i j = ((col_mx K pos)^T *m col_mx Q (m *: (ones R n.+1)^T)) i j.
  move=> i j ij; rewrite tr_col_mx mul_row_col mxE onesE [in RHS]mxE !mxE big_ord1 !mxE mulr1.
  rewrite ler0_norm ?subr_le0 ?ler_nat // opprB mulrBr opprB -!addrA addNr addr0 [_ * m]mulrC; by [].
have -> : msoftmax (@causal n.+1) L = msoftmax (@causal n.+1) (L + ones R n.+1 *m (m *: pos)).
  have sP := msoftmax_stochastic L (fun j => ex_intro (fun i => causal i j) ord0 isT).
  apply/esym/(msoftmax_eq _ sP); have [c hc] := (msoftmax_eq L sP).1 erefl.
  by exists (c + m *: pos) => i j v; rewrite [LHS]mxE onesE hc // [(c + _) 0 j]mxE addrA.
apply: leq_trans (masked_rank (@causal_nested n.+1) (anchor := ord0) (fun=> isT) eq) _.
apply: leq_trans (mxrankM_maxl _ _) _; rewrite mxrank_tr -[k.+1]addn1; exact: rank_leq_row.
Qed.

