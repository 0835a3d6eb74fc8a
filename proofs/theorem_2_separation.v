(* B20 Theorem 2, separation: a layer of heads of size d_p that share one product of rank d_p differs
   somewhere from each layer of heads of size r < d_p with at most d value coordinates in all. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_2_inclusion.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Algebra.
Variable F : fieldType.

Lemma nonzero_witness m n (A : 'M[F]_(m, n)) : A != 0 -> exists w : 'cV_n, A *m w != 0.
Proof.
case/matrix0Pn=> i [j nz]; exists (delta_mx j 0).
by apply/matrix0Pn; exists i, 0; rewrite -colE mxE.
Qed.

Lemma two_witness m p n (A : 'M[F]_(m, n)) (B : 'M[F]_(p, n)) : A != 0 -> B != 0 ->
  exists2 w : 'cV_n, A *m w != 0 & B *m w != 0.
Proof.
move=> /nonzero_witness [v Av] /nonzero_witness [w Bw].
have [Bv | ?] := eqVneq (B *m v) 0; last by exists v.
have [Aw | ?] := eqVneq (A *m w) 0; last by exists w.
by exists (v + w); rewrite mulmxDr ?Aw ?Bv ?addr0 ?add0r.
Qed.

(* ranks that sum to no more than the rank of the sum: independent column spaces *)
Lemma independent d h (B : 'I_h -> 'M[F]_d) (y : 'I_h -> 'cV_d) i0 :
  (\sum_i \rank (B i) <= \rank (\sum_i B i)%R)%N -> \sum_i B i *m y i = 0 -> B i0 *m y i0 = 0.
Proof.
move=> le eq0; pose A := (B i0)^T; pose S := (\sum_(i | i != i0) <<(B i)^T>>)%MS.
have rS : (\rank S <= \sum_(i | i != i0) \rank (B i))%N.
  apply: leq_trans (mxrank_sum_leqif _) _ => /=.
  by apply: leq_sum => i _; rewrite mxrank_gen mxrank_tr.
have rAS : (\rank (\sum_i B i)%R <= \rank (A + S)%MS)%N.
  rewrite -mxrank_tr; apply: mxrankS; rewrite linear_sum (bigD1 i0) //=.
  apply: addmx_sub_adds => //; apply: summx_sub_sums => i _; by rewrite genmxE.
have cap0 : (A :&: S)%MS = 0.
  apply/eqP; rewrite -mxrank_eq0 -leqn0 -(leq_add2l (\rank (A + S)%MS)) addn0 mxrank_sum_cap.
  apply: leq_trans (leq_trans le rAS); rewrite (bigD1 i0) //= mxrank_tr; exact: leq_add.
apply: trmx_inj; rewrite trmx0; apply/eqP; rewrite -submx0 -cap0 sub_capmx.
rewrite trmx_mul submxMl /=.
move/eqP: eq0; rewrite (bigD1 i0) //= addr_eq0 => /eqP e; rewrite -trmx_mul e linearN /= eqmx_opp.
rewrite linear_sum /=; apply: summx_sub_sums => i _.
by rewrite trmx_mul genmxE submxMl.
Qed.
End Algebra.

Section Separation.
Variables (R : expField) (d m : nat).
Local Notation n := m.+2.

(* the tokens [u - w, u, ..., u] *)
Definition tokens (u w : 'cV[R]_d) : 'M_(d, n) := u *m (ones R n)^T - w *m delta_mx 0 ord0.

Lemma tokensE u w l : col l (tokens u w) = u - w *+ (l == ord0).
Proof.
apply/matrixP => i j; rewrite !mxE !big_ord1 !mxE (ord1 j) mulr1 eqxx /=.
by case: eqP => _; rewrite ?mulr1 ?mulr0 ?mulr1n ?mulr0n ?mxE.
Qed.

Lemma tokens_mul u w (p : 'cV[R]_n) : \sum_i p i 0 = 1 -> tokens u w *m p = u - p ord0 0 *: w.
Proof.
move=> p1; rewrite mulmxBl -!mulmxA -rowE [row _ _]mx11_scalar mul_mx_scalar mxE.
have -> : (ones R n)^T *m p = 1%:M; last by rewrite mulmx1.
by apply/matrixP => i j; rewrite !ord1 [RHS]mxE eqxx mulr1n mxE -[RHS]p1; apply: eq_bigr => l _; rewrite !mxE mul1r.
Qed.

(* the first column of a layer on such tokens *)
Lemma layer_first h k v s Wo Wv Wk Wq u w :
  col ord0 (@layer R d h k v s Wo Wv Wk Wq _ (tokens u w)) =
  (\sum_i Wo i *m Wv i) *m u -
  \sum_i Wo i *m Wv i *m (context s (tokens u w) (Wk i) (Wq i) ord0 ord0 *: w).
Proof.
rewrite /layer linear_sum /= mulmx_suml -sumrB; apply: eq_bigr => i _.
rewrite col_mul -(mulmxA _ (tokens u w)) tokens_mul; first by rewrite mulmxBr mxE.
have [_ h1] := softmax_stochastic (logits s (tokens u w) (Wk i) (Wq i)) (ltn0Sn _).
by rewrite -[RHS](h1 ord0); apply: eq_bigr => l _; rewrite mxE.
Qed.

Lemma logits_quad k s p (X : 'M[R]_(d, p)) (Wk Wq : 'M_(k, d)) :
  logits s X Wk Wq = s *: (X^T *m (Wk^T *m Wq *m X)).
Proof. by rewrite /logits trmx_mul !mulmxA. Qed.

Lemma quadE p (X : 'M[R]_(d, p)) (M : 'M_d) l j :
  (X^T *m (M *m X)) l j = ((col l X)^T *m (M *m col j X)) 0 0.
Proof. by rewrite tr_col -!col_mul -row_mul [RHS]mxE [RHS]mxE. Qed.

(* all later tokens alike: the first weight is 1/n iff the first logit is like theirs *)
Lemma first_uniform p (L : 'M[R]_(n, p)) j y : (forall l, l != ord0 -> L l j = y) ->
  (softmax L ord0 j == n%:R^-1) = (L ord0 j == y).
Proof.
move=> Ly; rewrite softmaxE; have Z := sum_expR_gt0 (fun l => L l j) ord0.
have e : \sum_l expR (L l j) = expR (L ord0 j) + expR y *+ m.+1.
  rewrite big_ord_recl; congr (_ + _).
  by rewrite (eq_bigr (fun=> expR y)) ?sumr_const ?card_ord // => l _; rewrite Ly.
rewrite -[n%:R^-1]mul1r eqr_div ?lt0r_neq0 ?ltr0n // mul1r e mulr_natr mulrS.
rewrite (inj_eq (addrI _)) eqr_pmuln2r //; exact: (inj_eq (@expR_inj R)).
Qed.

(* h heads of size r and value size v, h v <= d, at scale s; h' heads of size dp > r at scale t <> 0 with
   Vk_i^T Vq_i = U for all i, rank U = dp and rank Σ Vo_i Vv_i = d. Their outputs differ on some X of
   n = m + 2 tokens, for every n >= 2. *)
Theorem theorem_2_separation h h' r v dp v' (s t : R)
    (Wo : 'I_h -> 'M_(d, v)) Wv (Wk Wq : 'I_h -> 'M_(r, d))
    (Vo : 'I_h' -> 'M_(d, v')) Vv (Vk Vq : 'I_h' -> 'M_(dp, d)) (U : 'M_d) :
  t != 0 -> (r < dp)%N -> (h * v <= d)%N ->
  (forall i, (Vk i)^T *m Vq i = U) -> \rank U = dp -> \rank (\sum_i Vo i *m Vv i)%R = d ->
  exists X : 'M_(d, n), layer s Wo Wv Wk Wq X <> layer t Vo Vv Vk Vq X.
Proof.
move=> t0 rdp hv hU rU rA; set A := \sum_i _ in rA.
pose B i := Wo i *m Wv i.
have [BA | nBA] := eqVneq (\sum_i B i) A; last first.
  have [x] : exists x : 'cV_d, (\sum_i B i - A) *m x != 0 by apply: nonzero_witness; rewrite subr_eq0.
  rewrite mulmxBl subr_eq0 => /eqP nx; exists (tokens x 0) => /(congr1 (col ord0)).
  rewrite !layer_first.
  by do 2![rewrite [X in _ - X]big1 ?subr0; last by move=> i _; rewrite scaler0 mulmx0].
(* a head of f that is not 0 *)
have d0 : (0 < d)%N by apply: leq_ltn_trans (leq0n r) (leq_trans rdp _); rewrite -rU rank_leq_row.
have [i0 B0] : exists i0, B i0 != 0.
  apply/existsP; apply: contraLR d0; rewrite negb_exists => /forallP B0.
  by rewrite -rA -BA big1 ?mxrank0 // => i _; apply/eqP; rewrite -[_ == _]negbK.
(* q with M q = 0, U q <> 0 *)
have [q Mq Uq] : exists2 q : 'cV_d, (Wk i0)^T *m Wq i0 *m q = 0 & U *m q != 0.
  apply: not_submx_witness; apply: contraL rdp => /mxrankS; rewrite rU -leqNgt => le.
  apply: leq_trans le (leq_trans (mxrankM_maxl _ _) _); exact: rank_leq_col.
have [w wUq Bw] : exists2 w : 'cV_d, (U *m q)^T *m w != 0 & B i0 *m w != 0.
  by apply: two_witness => //; rewrite -(inj_eq trmx_inj) trmxK trmx0.
pose X := tokens (q + w) w.
have X0 : col ord0 X = q by rewrite tokensE eqxx addrK.
have Xl l : l != ord0 -> col l X = q + w by move=> /negPf l0; rewrite tokensE l0 subr0.
exists X => /(congr1 (col ord0)); rewrite !layer_first -/A BA => /addrI/oppr_inj.
pose a i := context s X (Wk i) (Wq i) ord0 ord0.
(* the heads of g all attend alike *)
pose b := softmax (t *: (X^T *m (U *m X))) ord0 ord0.
have cb i : context t X (Vk i) (Vq i) ord0 ord0 = b by rewrite /context logits_quad hU.
under [RHS]eq_bigr do rewrite cb.
rewrite -mulmx_suml -/A -BA mulmx_suml => e.
have e0 : \sum_i B i *m ((a i - b) *: w) = 0.
  by under eq_bigr do rewrite scalerBl mulmxBr; rewrite sumrB e subrr.
have le : (\sum_i \rank (B i) <= \rank (\sum_i B i)%R)%N.
  rewrite BA rA; apply: leq_trans hv; rewrite -[h in (h * v)%N]card_ord -sum_nat_const.
  by apply: leq_sum => i _; apply: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
have /eqP := independent i0 le e0; rewrite -scalemxAr scaler_eq0 (negPf Bw) orbF subr_eq0 => /eqP ab.
have a_unif : a i0 == n%:R^-1.
  rewrite /a /context logits_quad (@first_uniform _ _ _ 0) => [|l _]; rewrite mxE quadE X0 Mq mulmx0 mxE mulr0 //.
have b_not : b != n%:R^-1.
  rewrite /b (@first_uniform _ _ _ (t * ((q + w)^T *m (U *m q)) 0 0)) => [|l l0]; last first.
    by rewrite mxE quadE X0 Xl.
  rewrite mxE quadE X0 (inj_eq (mulfI t0)) linearD /= mulmxDl [in X in _ != X]mxE.
  rewrite -subr_eq0 opprD addrA subrr add0r oppr_eq0.
  apply: contra wUq => /eqP z; apply/eqP/trmx_inj.
  by rewrite trmx_mul trmxK trmx0 [LHS]mx11_scalar z raddf0.
by move: b_not; rewrite -ab a_unif.
Qed.
End Separation.
