(* A causal mask forgives one missing dimension. n + 1 tokens in dimension n (X of rank n), the
   relation X u = 0 among them with all u_i != 0 and sum u != 0 (1 is not in the row space of X).
   Then heads without bound on their size (size n suffices) reach every causal context, although
   the tokens are linearly dependent.
   Reason: W upper triangular with 1^T W = 0 and X W X^T = 0 is u b^T + s u^T, and this is 0. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_c_softmax any_tokens_any_mask.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section OneMissing.
Variables (F : fieldType) (n : nat) (X : 'M[F]_(n, n.+1)) (u : 'cV[F]_n.+1).
Hypotheses (rX : \rank X = n) (Xu : X *m u = 0).
Hypotheses (u_neq0 : forall i, u i 0 != 0) (sum_u : \sum_i u i 0 != 0).

Lemma kernel_line p (B : 'M[F]_(n.+1, p)) : X *m B = 0 -> exists a : 'rV_p, B = u *m a.
Proof.
move=> h; have uK : (u^T <= kermx X^T)%MS by apply/sub_kermxP; rewrite -trmx_mul Xu trmx0.
have BK : (B^T <= kermx X^T)%MS by apply/sub_kermxP; rewrite -trmx_mul h trmx0.
have ru : \rank u^T = 1%N.
  apply/eqP; rewrite eqn_leq rank_leq_row lt0n mxrank_eq0.
  by apply/matrix0Pn; exists 0, ord0; rewrite mxE.
have /eqmxP/eqmxP/andP[_ Ku] : (u^T == kermx X^T)%MS.
  by rewrite -(geq_leqif (mxrank_leqif_eq uK)) mxrank_ker mxrank_tr rX subSnn ru.
have /submxP [a e] := submx_trans BK Ku.
by exists a^T; apply: trmx_inj; rewrite e trmx_mul trmxK.
Qed.

Lemma two_sided (W : 'M[F]_n.+1) : X *m W *m X^T = 0 ->
  exists b s : 'I_n.+1 -> F, forall i j, W i j = u i 0 * u j 0 * (b j + s i).
Proof.
rewrite -mulmxA => /kernel_line [a ea].
have /row_freeP [Y hY] : row_free X by rewrite /row_free rX.
have : X *m (W - u *m (a *m Y^T))^T = 0.
  apply: trmx_inj; rewrite trmx_mul trmxK trmx0 mulmxBl ea -!mulmxA -trmx_mul hY trmx1 mulmx1.
  exact: subrr.
case/kernel_line => s es.
exists (fun j => (a *m Y^T) 0 j / u j 0), (fun i => s 0 i / u i 0) => i j.
have /matrixP/(_ i j) : W - u *m (a *m Y^T) = s^T *m u^T by apply: trmx_inj; rewrite es trmx_mul !trmxK.
rewrite mxE [X in _ + X]mxE [X in _ - X]mxE big_ord1 [RHS]mxE big_ord1 [s^T _ _]mxE [u^T _ _]mxE.
move/eqP; rewrite subr_eq addrC => /eqP ->; rewrite mulrDr; congr (_ + _).
  by rewrite -mulrA (mulrC (u j 0)) divfK.
by rewrite mulrAC [u i 0 * _]mulrC divfK.
Qed.

Lemma witness0 (W : 'M[F]_n.+1) : (forall i j, ~~ causal i j -> W i j = 0) ->
  (ones F n.+1)^T *m W = 0 -> X *m W *m X^T = 0 -> W = 0.
Proof.
move=> Wv W1 /two_sided [b [s e]].
have uu i j : u i 0 * u j 0 != 0 by rewrite mulf_neq0.
have bs (i j : 'I_n.+1) : (j < i)%N -> b j + s i = 0.
  rewrite ltnNge => /Wv; rewrite e => /eqP; rewrite mulf_eq0 (negPf (uu i j)) => /eqP //.
have col j : \sum_i u i 0 * u j 0 * (b j + s i) = 0.
  have /matrixP/(_ 0 j) := W1; rewrite [RHS]mxE mxE; apply: etrans; apply: eq_bigr => i _.
  by rewrite -e !mxE mul1r.
(* rows below the first *)
have si (i : 'I_n.+1) : (0 < i)%N -> s i = - b ord0 by move=> i0; apply/eqP; rewrite -addr_eq0 addrC (@bs i ord0 i0).
have s0 : (0 < n)%N -> s ord0 = - b ord0.
  move=> n0; apply/eqP; rewrite -addr_eq0 addrC.
  have := col ord0; rewrite (bigD1 ord0) //= big1 => [|i i0].
    by rewrite addr0 => /eqP; rewrite mulf_eq0 (negPf (uu _ _)).
  by rewrite bs ?mulr0 // lt0n.
have sall : exists t, forall i, s i = t.
  case: (posnP n) => [n0 | n0].
    by exists (s ord0) => i; congr (s _); apply/val_inj; case: i => i /=; rewrite n0 ltnS leqn0 => /eqP.
  by exists (- b ord0) => i; case: (posnP i) => [i0 | /si //]; rewrite -(s0 n0); congr s; apply/val_inj.
have [t ht] := sall.
apply/matrixP => i j; rewrite e [RHS]mxE ht.
have /eqP := col j; rewrite (eq_bigr (fun i => u i 0 * (u j 0 * (b j + t)))) => [|l _]; last by rewrite ht mulrA.
rewrite -mulr_suml mulf_eq0 (negPf sum_u) mulf_eq0 (negPf (u_neq0 j)) /= => /eqP ->.
by rewrite mulr0.
Qed.

(* any A is X^T M X + 1 c on the causal pairs, for some M and c *)
Theorem causal_one_missing (A : 'M[F]_n.+1) : exists (M : 'M_n) (c : 'rV_n.+1),
  forall i j, causal i j -> (X^T *m M *m X) i j + c 0 j = A i j.
Proof.
apply/any_tokens_any_mask => W Wv W1 WX; rewrite (witness0 Wv W1 WX).
by rewrite big1 // => i _; rewrite big1 // => j _; rewrite mxE mul0r.
Qed.
End OneMissing.

(* n + 1 tokens in dimension n, X of rank n, X u = 0 with all u_i <> 0 and Σ u_i <> 0, s <> 0: every
   causal P is the context of a head of size n. *)
Theorem causal_one_missing_softmax (R : expField) n s (X : 'M[R]_(n, n.+1)) (u : 'cV_n.+1) P :
  s != 0 -> \rank X = n -> X *m u = 0 -> (forall i, u i 0 != 0) -> \sum_i u i 0 != 0 ->
  mstochastic (@causal n.+1) P ->
  exists Wk Wq : 'M_n, msoftmax (@causal n.+1) (logits s X Wk Wq) = P.
Proof.
move=> s0 rX Xu u0 su sP; have [M [c h]] := causal_one_missing rX Xu u0 su (logm P).
exists 1%:M, (s^-1 *: M); apply/(msoftmax_eq _ sP); exists (- c) => i j v.
have -> : logits s X 1%:M (s^-1 *: M) = X^T *m M *m X.
  by rewrite /logits mul1mx -scalemxAl -scalemxAr scalerA divff // scale1r mulmxA.
by have := h i j v; rewrite [logm _ _ _]mxE => <-; rewrite [(- c) 0 j]mxE addrK.
Qed.
