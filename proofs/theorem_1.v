(* B20, Theorem 1, with the sharp threshold n - 1. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Theorem1.
Variable R : expField.

(* X of full column rank: heads of size k >= n - 1 reach every context *)
Theorem sharp_threshold d n k s (X : 'M[R]_(d, n)) P : (0 < n)%N -> s != 0 -> \rank X = n ->
  stochastic P -> (n.-1 <= k)%N -> exists Wk Wq : 'M_(k, d), context s X Wk Wq = P.
Proof.
move=> n0 s0 rX sP nk; apply/theorem_a => //; apply: leq_trans _ nk.
by rewrite -ltnS prednK //; apply: logrank_lt => //; rewrite nR0.
Qed.

(* first half: X of full column rank, so d >= n; heads of size d reach every context *)
Theorem theorem_1_first d n s (X : 'M[R]_(d, n)) P : (0 < n)%N -> s != 0 -> \rank X = n ->
  stochastic P -> exists Wk Wq : 'M_(d, d), context s X Wk Wq = P.
Proof.
move=> n0 s0 rX sP; apply: sharp_threshold => //.
by apply: leq_trans (leq_pred n) _; rewrite -rX rank_leq_row.
Qed.

(* over any field: for every M some keys and queries of size d have the logits C M *)
Theorem exact_logits (F : fieldType) d n (X : 'M[F]_(d, n)) (M : 'M[F]_n) : \rank X = n ->
  exists Wk Wq : 'M[F]_d, (Wk *m X)^T *m (Wq *m X) = centre F n *m M.
Proof.
move=> rX; have fX : row_full X by rewrite /row_full rX.
have [||| Wk [Wq e]] := @logits_factor F d n d X (centre F n *m M); rewrite ?submx_full //.
  by apply: leq_trans (rank_leq_row _) _; rewrite -[X in (X <= _)%N]rX rank_leq_row.
by exists Wk, Wq.
Qed.

(* so a head of size d has the logits C log P, and the context P *)
Theorem exact_context d n s (X : 'M[R]_(d, n)) P : (0 < n)%N -> s != 0 -> \rank X = n -> stochastic P ->
  exists Wk Wq : 'M_d, logits s X Wk Wq = centre R n *m logm P /\ context s X Wk Wq = P.
Proof.
move=> n0 s0 rX sP; have [Wk [Wq e]] := exact_logits (logm P) rX; exists Wk, (s^-1 *: Wq).
have L : logits s X Wk (s^-1 *: Wq) = centre R n *m logm P.
  by rewrite /logits -scalemxAl -scalemxAr scalerA divff // scale1r.
split=> //; rewrite /context L; have [c <-] := logrank_attained (logm P).
by apply/(softmax_eq _ sP); exists c.
Qed.

(* and rational ones where X and M are rational *)
Theorem rational_context d n (X : 'M[rat]_(d, n)) (M : 'M[rat]_n) : (0 < n)%N -> \rank X = n ->
  exists Wk Wq : 'M[rat]_d, (Wk *m X)^T *m (Wq *m X) = centre rat_fieldType n *m M /\
    context 1 (map_mx ratr X) (map_mx ratr Wk) (map_mx ratr Wq) = softmax (map_mx (@ratr R) M).
Proof.
move=> n0 rX; have [Wk [Wq e]] := exact_logits M rX; exists Wk, Wq; split=> //.
have [c hc] := logrank_attained M.
rewrite /context /logits scale1r -!map_mxM map_trmx -map_mxM e -hc.
apply/softmax_gauge; exists (map_mx ratr c); rewrite map_mxD addrC addKr map_mxM; congr (_ *m _).
by apply/matrixP => i j; rewrite !mxE rmorph1.
Qed.

(* second half: the column of a zero token is uniform *)
Theorem zero_token d n k s (X : 'M[R]_(d, n)) (Wk Wq : 'M_(k, d)) j i l :
  col j X = 0 -> context s X Wk Wq i j = context s X Wk Wq l j.
Proof.
move=> X0; suff h t : logits s X Wk Wq t j = 0 by rewrite !softmaxE !h.
transitivity (col j (logits s X Wk Wq) t 0); first by rewrite [RHS]mxE.
by rewrite /logits linearZ /= !col_mul X0 !mulmx0 scaler0 mxE.
Qed.

(* second half: d < n, n >= 2; for some X of rank d some P is out of reach of every head size and scale *)
Theorem theorem_1_second d n : (1 < n)%N -> (d < n)%N ->
  exists (X : 'M[R]_(d, n)) (P : 'M[R]_n), [/\ \rank X = d, stochastic P &
    forall k s (Wk Wq : 'M_(k, d)), context s X Wk Wq <> P].
Proof.
move=> n1 dn; have n0 := ltnW n1.
exists (pid_mx d), (exp_identity n 1); split; first by rewrite rank_pid_mx // ltnW.
  exact: softmax_stochastic.
move=> k s Wk Wq h.
have dn' : (n.-1 < n)%N by rewrite prednK.
pose j := Ordinal dn'; pose i := Ordinal n0.
have X0 : col j (pid_mx d : 'M[R]_(d, n)) = 0.
  apply/matrixP => a b; rewrite !mxE /=; case: (a =P n.-1 :> nat) => // e.
  have dn1 : (d <= n.-1)%N by rewrite -ltnS prednK.
  by have := leq_trans (ltn_ord a) dn1; rewrite e ltnn.
have := zero_token s Wk Wq i j X0; rewrite h !softmaxE !mxE.
have ij : (i == j) = false by apply/negP => /eqP/(congr1 val)/=/esym/eqP; rewrite -[_ == _]leqn0 -ltnS prednK // leqNgt n1.
move/(mulIf (invr_neq0 (lt0r_neq0 (sum_expR_gt0 _ i)))).
by move/(@expR_inj R)/eqP; rewrite eqxx ij eq_sym oner_eq0.
Qed.

(* the bottleneck: P prop. to e^(a I), a <> 0 (a = ln 2: 2^I), needs size n - 1 on every X *)
Lemma rank_centre n : (0 < n)%N -> \rank (centre R n) = n.-1.
Proof.
move=> n0; apply/eqP; rewrite eqn_leq -ltnS prednK //.
have := logrank_lt (nR0 R n0) 1%:M n0; rewrite mulmx1 => -> /=.
have /(congr1 mxrank) : 1%:M = centre R n + (n%:R^-1 *: ones R n) *m (ones R n)^T.
  by rewrite /centre scalemxAl subrK.
rewrite mxrank1 => e; rewrite -ltnS prednK //; apply: leq_trans (eq_leq e) _.
apply: leq_trans (mxrank_add _ _) _; rewrite -[(\rank _).+1]addn1 leq_add2l.
exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
Qed.

(* a head of any X and scale with the context P prop. to e^(a I), a <> 0, has size n - 1 or more *)
Theorem exp_identity_needs d n k s (X : 'M[R]_(d, n)) (Wk Wq : 'M_(k, d)) a : (0 < n)%N -> a != 0 ->
  context s X Wk Wq = exp_identity n a -> (n.-1 <= k)%N.
Proof.
move=> n0 a0 h; have sP := softmax_stochastic (a%:M : 'M[R]_n) n0.
apply: leq_trans _ (logrank_necessary n0 sP h); rewrite /logrank.
have [c ->] : exists c : 'rV_n, logm (exp_identity n a) = a%:M + ones R n *m c.
  have /(softmax_eq _ sP) [c hc] : softmax (a%:M) = exp_identity n a by [].
  by exists (- c); rewrite hc mulmxN addrK.
by rewrite centre_gauge ?nR0 // mul_mx_scalar mxrank_scale_nz // rank_centre.
Qed.
End Theorem1.
