(* Any tokens X (d x n) under any mask: which logits A do bilinear heads reach, up to gauge?
   Some M (d x d) and column constants c give X^T M X + 1 c = A on the visible pairs
   iff  <W, A> = 0  for every W that vanishes off the mask with 1^T W = 0 and X W X^T = 0.
   For masked softmax attention: a context P is that of a head (of some size; size d is enough)
   iff <W, log P> = 0 for all these W. And within an entrywise ratio e^rho of P there is the context of a
   head only if |<W, log P>| <= rho |W|_1 for all these W. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_c_softmax.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Fredholm.
Variables (F : fieldType) (d n : nat) (vis : 'I_n -> 'I_n -> bool).
Variable X : 'M[F]_(d, n).
Local Notation one := (ones F n).

Definition mask (A : 'M[F]_n) : 'M[F]_n := \matrix_(i, j) ((vis i j)%:R * A i j).

Fact mask_linear : linear mask.
Proof. by move=> a A B; apply/matrixP => i j; rewrite !mxE mulrDr mulrCA. Qed.
Canonical mask_additive := Additive mask_linear.
Canonical mask_Linear := Linear mask_linear.

Definition dot m (W A : 'M[F]_(m, n)) := \tr (W^T *m A).

Lemma dotE m (W A : 'M[F]_(m, n)) : dot W A = \sum_i \sum_j W i j * A i j.
Proof.
rewrite exchange_big; apply: eq_bigr => j _; rewrite mxE.
by apply: eq_bigr => i _; rewrite mxE.
Qed.

Lemma dot_mask (W A : 'M[F]_n) : dot W (mask A) = dot (mask W) A.
Proof.
rewrite !dotE; apply: eq_bigr => i _; apply: eq_bigr => j _.
by rewrite !mxE mulrCA mulrA.
Qed.

Lemma dot_mxvec (A : 'M[F]_n) (v : 'cV_(n * n)) : (mxvec A *m v) 0 0 = dot (vec_mx v^T) A.
Proof.
rewrite dotE mxE pair_bigA (reindex _ (curry_mxvec_bij _ _)) /=.
by apply: eq_bigr => -[i j] _ /=; rewrite mxvecE mulrC !mxE.
Qed.

Lemma dot_bilinear (W : 'M[F]_n) (M : 'M_d) :
  dot W (X^T *m M *m X) = \sum_a \sum_b (X *m W *m X^T) a b * M a b.
Proof.
have -> : \sum_a \sum_b (X *m W *m X^T) a b * M a b = \tr ((X *m W *m X^T)^T *m M).
  rewrite exchange_big; apply: eq_bigr => b _; rewrite mxE.
  by apply: eq_bigr => a _; rewrite [in RHS]mxE.
by rewrite /dot !trmx_mul trmxK mulmxA mxtrace_mulC !mulmxA.
Qed.

Lemma dot_gauge (W : 'M[F]_n) (c : 'rV_n) :
  dot W (one *m c) = \sum_j (one^T *m W) 0 j * c 0 j.
Proof.
rewrite dotE exchange_big; apply: eq_bigr => j _.
rewrite mxE big_distrl; apply: eq_bigr => i _ /=.
by rewrite !mxE big_ord1 !mxE !mul1r.
Qed.

Lemma sum_delta m p (B : 'M[F]_(m, p)) i j : \sum_a \sum_b B a b * (delta_mx i j : 'M_(m, p)) a b = B i j.
Proof.
rewrite (bigD1 i) //= (bigD1 j) //= mxE !eqxx mulr1 !big1 ?addr0 // => [a ai | b bj].
  by rewrite big1 // => b _; rewrite mxE (negPf ai) mulr0.
by rewrite mxE (negPf bj) andbF mulr0.
Qed.

(* the logits X^T M X + 1 c that agree with A on the visible pairs: Fredholm's alternative *)
Theorem any_tokens_any_mask (A : 'M[F]_n) :
  (exists (M : 'M_d) (c : 'rV_n), forall i j, vis i j -> (X^T *m M *m X) i j + c 0 j = A i j) <->
  (forall W : 'M_n, (forall i j, ~~ vis i j -> W i j = 0) -> one^T *m W = 0 -> X *m W *m X^T = 0 ->
     \sum_i \sum_(j | vis i j) W i j * A i j = 0).
Proof.
split=> [[M [c h]] W Wv W1 WX | h].
  have -> : \sum_i \sum_(j | vis i j) W i j * A i j = dot W (X^T *m M *m X) + dot W (one *m c).
    rewrite !dotE -big_split /=; apply: eq_bigr => i _; rewrite -big_split /= big_mkcond /=.
    apply: eq_bigr => j _; case: (boolP (vis i j)) => [v | /Wv ->]; last by rewrite !mul0r addr0.
    by rewrite -h // mulrDr; congr (_ + _ * _); rewrite mxE big_ord1 !mxE mul1r.
  rewrite dot_bilinear dot_gauge WX W1 !big1 ?addr0 // => [j _ | a _]; first by rewrite mxE mul0r.
  by rewrite big1 // => b _; rewrite mxE mul0r.
pose f := [linear of mask \o (mulmxr X \o mulmx X^T)].
pose g := [linear of mask \o mulmx one] : {linear 'rV_n -> 'M_n}.
have : (mxvec (mask A) <= col_mx (lin_mx f) (lin_mx g))%MS.
  apply: ker_submx => v; rewrite mul_col_mx => /eqP; rewrite col_mx_eq0 => /andP[/eqP hf /eqP hg].
  pose W := mask (vec_mx v^T).
  apply/matrixP => i0 j0; rewrite !ord1 [RHS]mxE dot_mxvec dot_mask -/W.
  have -> : dot W A = \sum_i \sum_(j | vis i j) W i j * A i j.
    rewrite dotE; apply: eq_bigr => i _; rewrite [RHS]big_mkcond; apply: eq_bigr => j _.
    by case: ifP => // v'; rewrite mxE v' !mul0r.
  apply: h => [i j /negPf v' | |]; first by rewrite mxE v' mul0r.
    apply/matrixP => i j; rewrite ord1 [RHS]mxE.
    have := dot_gauge W (delta_mx 0 j).
    have -> : \sum_j0 (one^T *m W) 0 j0 * (delta_mx 0 j : 'rV_n) 0 j0 = (one^T *m W) 0 j.
      by rewrite -[RHS](sum_delta (one^T *m W)) big_ord1.
    move=> <-; rewrite -dot_mask -dot_mxvec.
    by have -> : mask (one *m delta_mx 0 j) = g (delta_mx 0 j) by []; rewrite -mul_vec_lin -mulmxA hg mulmx0 mxE.
  apply/matrixP => a b; rewrite [RHS]mxE -[LHS]sum_delta -dot_bilinear -dot_mask -dot_mxvec.
  have -> : mask (X^T *m delta_mx a b *m X) = f (delta_mx a b) by [].
  by rewrite -mul_vec_lin -mulmxA hf mulmx0 mxE.
case/submxP => u; rewrite -[u]hsubmxK mul_row_col -[lsubmx u]vec_mxK -[rsubmx u]vec_mxK.
rewrite !mul_vec_lin -linearD => /(can_inj mxvecK).
set M := vec_mx _; set c := vec_mx _ => e.
have {}e : mask A = mask (X^T *m M *m X) + mask (one *m c) by exact: e.
exists M, c => i j v; have vE B : mask B i j = B i j by rewrite mxE v mul1r.
by rewrite -[RHS]vE e [RHS]mxE !vE [(one *m c) i j]mxE big_ord1 [one _ _]mxE mul1r.
Qed.
End Fredholm.

(* P positive exactly on the mask, s <> 0. Some head, of some size, has P on X iff Σ W_ij log P_ij = 0, the
   sum over visible (i, j), for every W that is 0 off the mask with 1^T W = 0 and X W X^T = 0. *)
Theorem any_tokens_softmax (R : expField) d n (vis : 'I_n -> 'I_n -> bool) (X : 'M[R]_(d, n)) s P :
  s != 0 -> mstochastic vis P ->
  (exists k (Wk Wq : 'M_(k, d)), msoftmax vis (logits s X Wk Wq) = P) <->
  (forall W : 'M_n, (forall i j, ~~ vis i j -> W i j = 0) -> (ones R n)^T *m W = 0 ->
     X *m W *m X^T = 0 -> \sum_i \sum_(j | vis i j) W i j * ln (P i j) = 0).
Proof.
move=> s0 sP; have eA (W : 'M_n) : \sum_i \sum_(j | vis i j) W i j * ln (P i j)
    = \sum_i \sum_(j | vis i j) W i j * logm P i j.
  by apply: eq_bigr => i _; apply: eq_bigr => j _; rewrite [logm P i j]mxE.
apply: iff_trans (_ : (exists (M : 'M_d) (c : 'rV_n), forall i j, vis i j ->
    (X^T *m M *m X) i j + c 0 j = logm P i j) <-> _); last first.
  rewrite any_tokens_any_mask; split=> h W Wv W1 WX; first by rewrite eA h.
  by rewrite -eA h.
split=> [[k [Wk [Wq /(msoftmax_eq _ sP) [c h]]]] | [M [c h]]].
  exists (s *: (Wk^T *m Wq)), (- c) => i j v; rewrite [RHS]mxE.
  have -> : X^T *m (s *: (Wk^T *m Wq)) *m X = logits s X Wk Wq.
    by rewrite /logits trmx_mul -scalemxAr -scalemxAl !mulmxA.
  by rewrite h // [(- c) 0 j]mxE addrK.
exists d, 1%:M, (s^-1 *: M); apply/(msoftmax_eq _ sP); exists (- c) => i j v.
have -> : logits s X 1%:M (s^-1 *: M) = X^T *m M *m X.
  by rewrite /logits mul1mx -scalemxAl -scalemxAr scalerA divff // scale1r mulmxA.
by have := h i j v; rewrite [logm _ _ _]mxE => <-; rewrite [(- c) 0 j]mxE addrK.
Qed.

(* a head of any size has the contexts of one of size d *)
Lemma size_d_enough (R : expField) d n k (vis : 'I_n -> 'I_n -> bool) (X : 'M[R]_(d, n)) s P :
  mreachable vis k s X P -> mreachable vis d s X P.
Proof. by case=> Wk [Wq h]; exists 1%:M, (Wk^T *m Wq); rewrite -h /logits mul1mx trmx_mul !mulmxA. Qed.

(* a context Q of a head, |log Q - log P| <= rho on the mask: |<W, log P>| <= rho |W|_1 *)
Theorem any_tokens_near (R : expField) d n k (vis : 'I_n -> 'I_n -> bool) (X : 'M[R]_(d, n)) s P Q rho (W : 'M_n) :
  s != 0 -> mstochastic vis Q -> mreachable vis k s X Q ->
  (forall i j, vis i j -> `|ln (Q i j) - ln (P i j)| <= rho) ->
  (forall i j, ~~ vis i j -> W i j = 0) -> (ones R n)^T *m W = 0 -> X *m W *m X^T = 0 ->
  `|\sum_i \sum_(j | vis i j) W i j * ln (P i j)| <= rho * \sum_i \sum_j `|W i j|.
Proof.
move=> s0 sQ hQ near Wv W1 WX.
have := (any_tokens_softmax X s0 sQ).1 (ex_intro _ k hQ) W Wv W1 WX => e.
have -> : \sum_i \sum_(j | vis i j) W i j * ln (P i j) =
    - \sum_i \sum_(j | vis i j) W i j * (ln (Q i j) - ln (P i j)).
  under [in RHS]eq_bigr do (under eq_bigr do rewrite mulrBr; rewrite sumrB).
  by rewrite sumrB e sub0r opprK.
rewrite normrN mulr_sumr; apply: le_trans (ler_norm_sum _ _ _) _; apply: ler_sum => i _.
rewrite mulr_sumr big_mkcond /=; apply: le_trans (ler_norm_sum _ _ _) _; apply: ler_sum => j _.
case: ifP => [v | /negbT/Wv ->]; last by rewrite normr0 mulr0.
by rewrite normrM mulrC ler_wpmul2r // near.
Qed.
