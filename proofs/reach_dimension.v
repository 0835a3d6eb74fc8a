(* The dimension of the contexts that heads, of any size, have on tokens X (d x n): without a mask, any X, and under a
   causal mask. The logits of heads are X^T M X, M any d x d matrix; a context determines them up to a constant in each
   column, which goes when the entry of one key a(j) that query j sees is taken from column j. So the contexts on X
   are, by their log P, the image of a linear map of M, and their dimension is its rank.
   Reason for the causal formula: of query j the map has the (x_i - x_0)^T M x_j, i <= j. The last d queries are a basis.
   An earlier x_j is a combination of theirs, and they see all the keys that it sees: it adds nothing. The last d add
   their ranks, as the M x_j are independent of each other; that of query j is the rank of the x_i - x_0, i <= j, which is
   min(j, d), or min(j, d - 1) if 1 is in the row space. *)
From mathcomp Require Import all_ssreflect all_algebra zify ring.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a positive_distance theorem_c_softmax theorem_c_causal.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section LinearMaps.
Variable F : fieldType.

(* the map that is 0 where another is has no larger rank *)
Lemma rank_of_kernel m n p q r s (f : {linear 'M[F]_(m, n) -> 'M[F]_(p, q)})
    (g : {linear 'M[F]_(m, n) -> 'M[F]_(r, s)}) :
  (forall M, f M = 0 -> g M = 0) -> (\rank (lin_mx g) <= \rank (lin_mx f))%N.
Proof.
move=> h; have /mxrankS : (kermx (lin_mx f) <= kermx (lin_mx g))%MS.
  apply/rV_subP => v /sub_kermxP; rewrite mul_rV_lin => /eqP; rewrite mxvec_eq0 => /eqP/h e.
  by apply/sub_kermxP; rewrite mul_rV_lin e linear0.
rewrite !mxrank_ker; have := rank_leq_row (lin_mx f); have := rank_leq_row (lin_mx g); lia.
Qed.

Definition two_sided m p q n (A : 'M[F]_(m, p)) (B : 'M[F]_(q, n)) := [linear of mulmxr B \o mulmx A].

Lemma two_sidedM m p q n u v (A : 'M[F]_(m, p)) (B : 'M[F]_(q, n)) (A' : 'M_(u, m)) (B' : 'M_(n, v)) :
  lin_mx (two_sided A B) *m lin_mx (two_sided A' B') = lin_mx (two_sided (A' *m A) (B *m B')).
Proof. by apply/row_matrixP => i; rewrite !rowE mulmxA !mul_rV_lin /= mxvecK !mulmxA. Qed.

Lemma two_sided1 m n : lin_mx (two_sided 1%:M 1%:M) = 1%:M :> 'M[F]_(m * n).
Proof. by apply/row_matrixP => i; rewrite !rowE mul_rV_lin /= mul1mx !mulmx1 vec_mxK. Qed.

(* M -> A M B has the rank of A times the rank of B *)
Lemma rank_two_sided m p q n (A : 'M[F]_(m, p)) (B : 'M[F]_(q, n)) :
  \rank (lin_mx (two_sided A B)) = (\rank A * \rank B)%N.
Proof.
have /row_freeP [A' hA'] := row_base_free A; have /row_fullP [A'' hA''] := col_base_full A.
have /row_freeP [B'' hB''] := row_base_free B; have /row_fullP [B' hB'] := col_base_full B.
rewrite -{1}(mulmx_base A) -{1}(mulmx_base B) -two_sidedM mxrankMfree.
  by apply/eqP/row_fullP; exists (lin_mx (two_sided A' B')); rewrite two_sidedM hA' hB' two_sided1.
by apply/row_freeP; exists (lin_mx (two_sided A'' B'')); rewrite two_sidedM hA'' hB'' two_sided1.
Qed.

(* column l times its own matrix D l: the ranks add *)
Definition by_column m p q (D : 'I_q -> 'M[F]_(m, p)) (Y : 'M[F]_(p, q)) : 'M_(m, q) :=
  \matrix_(i, l) (D l *m Y) i l.
Fact by_column_linear m p q (D : 'I_q -> 'M[F]_(m, p)) : linear (by_column D).
Proof. by move=> t A B; apply/matrixP => i l; rewrite mxE linearP [LHS]mxE [X in X + _]mxE !mxE. Qed.
Canonical by_column_additive m p q D := Additive (@by_column_linear m p q D).
Canonical by_column_Linear m p q D := Linear (@by_column_linear m p q D).

Lemma one_column m q (A : 'M[F]_(m, q)) l i k : (A *m (delta_mx l l : 'M_q)) i k = A i l * (k == l)%:R.
Proof.
rewrite mxE (bigD1 l) //= big1 ?addr0 => [|t tl]; first by rewrite [delta_mx _ _ _ _]mxE eqxx.
by rewrite [delta_mx _ _ _ _]mxE (negPf tl) mulr0.
Qed.

Lemma rank_by_column m p q (D : 'I_q -> 'M[F]_(m, p)) :
  \rank (lin_mx [linear of by_column D]) = (\sum_l \rank (D l))%N.
Proof.
pose E l := two_sided (D l) (delta_mx l l : 'M_q); pose A l := <<lin_mx (E l)>>%MS.
have EE l Y i k : E l Y i k = (D l *m Y) i l * (k == l)%:R by rewrite -one_column.
have outA l k (v : 'rV_(m * q)) i : (v <= A l)%MS -> k != l -> vec_mx v i k = 0.
  by rewrite genmxE => /submxP [u ->] /negPf kl; rewrite mul_rV_lin mxvecK EE kl mulr0.
have dA : mxdirect (\sum_l A l)%MS.
  apply/mxdirect_sumsP => l _; apply/eqP; rewrite -submx0; apply/rV_subP => v.
  rewrite sub_capmx => /andP [vl /sub_sumsmxP [u eu]]; suff -> : v = 0 by apply: sub0mx.
  apply: (can_inj vec_mxK); rewrite linear0; apply/matrixP => i k; rewrite [RHS]mxE.
  have [-> | kl] := eqVneq k l; last exact: outA vl kl.
  rewrite eu linear_sum summxE big1 // => k' k'l; apply: (outA k'); first exact: submxMl.
  by rewrite eq_sym.
have -> : (\sum_l \rank (D l))%N = \rank (\sum_l A l)%MS.
  rewrite (mxdirectP dA) /=; apply: eq_bigr => l _.
  by rewrite mxrank_gen rank_two_sided mxrank_delta muln1.
apply/eqP; rewrite eqn_leq; apply/andP; split; apply: mxrankS.
  apply/rV_subP => _ /submxP [u ->]; rewrite mul_rV_lin.
  have -> : [linear of by_column D] (vec_mx u) = \sum_l E l (vec_mx u).
    apply/matrixP => i k; rewrite summxE (bigD1 k) //= big1 ?addr0 => [|l lk].
      by rewrite EE eqxx mulr1 mxE.
    by rewrite EE eq_sym (negPf lk) mulr0.
  rewrite linear_sum; apply: summx_sub_sums => l _; rewrite genmxE.
  by apply/submxP; exists (mxvec (vec_mx u)); rewrite mul_vec_lin.
apply/sumsmx_subP => l _; rewrite genmxE; apply/rV_subP => _ /submxP [u ->]; rewrite mul_rV_lin.
apply/submxP; exists (mxvec (vec_mx u *m (delta_mx l l : 'M_q))); rewrite mul_vec_lin; congr mxvec.
apply/matrixP => i k; rewrite EE [RHS]mxE mulmxA one_column.
by case: eqP => [-> | _] //; rewrite !mulr0.
Qed.
End LinearMaps.

Section Centred.
Variables (R : expField) (d n : nat).
Hypothesis n0 : (0 < n)%N.
Implicit Type X : 'M[R]_(d, n).

Lemma centre_tr : (centre R n)^T = centre R n.
Proof. by rewrite /centre linearB /= linearZ /= trmx1 trmx_mul trmxK. Qed.

Lemma centred_constant (v : 'cV[R]_n) : centre R n *m v = 0 -> exists c : 'rV_1, v = ones R n *m c.
Proof.
move=> h; exists (n%:R^-1 *: ((ones R n)^T *m v)); apply/eqP; rewrite -subr_eq0 -h.
by rewrite /centre mulmxBl mul1mx -scalemxAl -scalemxAr mulmxA.
Qed.

Lemma centred_kernel : (kermx (centre R n) == (ones R n)^T)%MS.
Proof.
apply/andP; split; last first.
  by apply/sub_kermxP; rewrite -centre_tr -trmx_mul centre_ones ?nR0 // trmx0.
apply/rV_subP => v /sub_kermxP e; have [|c ec] := @centred_constant v^T.
  by rewrite -centre_tr -trmx_mul e trmx0.
by apply/submxP; exists c^T; rewrite -trmx_mul -ec trmxK.
Qed.

(* centring the tokens costs one dimension iff 1 is in their row space *)
Lemma rank_centred X : \rank (centre R n *m X^T) = (\rank X - ((ones R n)^T <= X)%MS)%N.
Proof.
rewrite -mxrank_tr trmx_mul trmxK centre_tr.
have := mxrank_mul_ker X (centre R n).
have -> : \rank (X :&: kermx (centre R n))%MS = ((ones R n)^T <= X)%MS.
  case: (cap_eqmx (eqmx_refl X) (eqmxP centred_kernel)) => -> _.
  have r1 : \rank (ones R n)^T = 1%N.
    apply/eqP; rewrite eqn_leq rank_leq_row lt0n mxrank_eq0; apply/matrix0Pn.
    by exists 0, (Ordinal n0); rewrite !mxE oner_eq0.
  case: (boolP (_ <= X)%MS) => [s | ns]; first by rewrite (capmx_idPr s) r1.
  apply/eqP; rewrite -leqn0 leqNgt; apply/negP => nz; case/negP: ns.
  have le := capmxSr X (ones R n)^T; have : (X :&: (ones R n)^T == (ones R n)^T)%MS.
    by rewrite -(geq_leqif (mxrank_leqif_eq le)) r1.
  by case/andP => _ /submx_trans; apply; apply: capmxSl.
by move=> <-; rewrite addnK.
Qed.
End Centred.

Section Reach.
Variables (R : expField) (d n : nat) (vis : 'I_n -> 'I_n -> bool) (a : 'I_n -> 'I_n) (X : 'M[R]_(d, n)).
Hypotheses (n0 : (0 < n)%N) (seen : forall j, vis (a j) j).

(* A less the entry of key a(j) in each column j, on the mask *)
Definition less_key (A : 'M[R]_n) : 'M[R]_n := \matrix_(i, j) ((vis i j)%:R * (A i j - A (a j) j)).

Fact less_key_linear : linear less_key.
Proof.
move=> t A B; apply/matrixP => i j; rewrite !mxE.
move: (A i j) (A (a j) j) (B i j) (B (a j) j) (vis i j)%:R => w x y z b; ring. Qed.
Canonical less_key_additive := Additive less_key_linear.
Canonical less_key_Linear := Linear less_key_linear.

(* the logits X^T M X of heads, so treated, as a linear map of M; its rank is the dimension *)
Definition reach := [linear of less_key \o two_sided X^T X].
Definition reach_dimension := \rank (lin_mx reach).

(* the contexts of heads, of any size, are the P with such a log P in the image of this map *)
Theorem reach_image s P : s != 0 -> mstochastic vis P ->
  (exists k, mreachable vis k s X P) <-> (mxvec (less_key (logm P)) <= lin_mx reach)%MS.
Proof.
move=> s0 sP; split=> [[k [Wk [Wq /(msoftmax_eq _ sP) [c h]]]] | /submxP [u]].
  apply/submxP; exists (mxvec (s *: (Wk^T *m Wq))); rewrite mul_vec_lin; congr mxvec.
  have e : two_sided X^T X (s *: (Wk^T *m Wq)) = logits s X Wk Wq.
    by rewrite /= /logits trmx_mul -scalemxAr -scalemxAl !mulmxA.
  transitivity (less_key (logits s X Wk Wq)); last by rewrite -e.
  move: (logits _ _ _ _) h {e} => L h; apply/matrixP => i j; rewrite !mxE.
  case: (boolP (vis i j)) => [v | _]; last by rewrite !mul0r.
  by rewrite !h // opprD addrACA subrr addr0.
rewrite mul_rV_lin => /(can_inj mxvecK); move: (vec_mx u) => M e.
exists d, 1%:M, (s^-1 *: M); apply/(msoftmax_eq _ sP).
have -> : logits s X 1%:M (s^-1 *: M) = X^T *m M *m X.
  by rewrite /logits mul1mx -scalemxAl -scalemxAr scalerA divff // scale1r mulmxA.
have {}e : less_key (logm P) = less_key (X^T *m M *m X) := e.
move: (X^T *m M *m X) e => L e; exists (\row_j (L (a j) j - ln (P (a j) j))) => i j v.
have /matrixP/(_ i j) := e; rewrite !mxE v !mul1r => /eqP; rewrite eq_sym subr_eq => /eqP ->.
by rewrite -addrA; congr (_ + _); rewrite addrC.
Qed.

(* no more than what heads have without a mask *)
Lemma reach_le : (reach_dimension <= \rank (centre R n *m X^T) * \rank X)%N.
Proof.
rewrite -rank_two_sided; apply: rank_of_kernel => M e.
have {}e : centre R n *m (X^T *m M *m X) = 0 by rewrite !mulmxA.
have {}e : less_key (X^T *m M *m X) = 0.
  move: (X^T *m M *m X) e => L e; apply/matrixP => i j.
  have [|c ec] := @centred_constant R n (col j L); first by rewrite -col_mul e; apply/matrixP => ? ?; rewrite !mxE.
  have ce l : L l j = c 0 0 by have /matrixP/(_ l 0) := ec; rewrite onesE mxE.
  by rewrite !mxE !ce subrr mulr0.
exact: e.
Qed.

(* no less than keys f(i) and queries g(j) give that see each other in full *)
Lemma reach_ge p q (f : 'I_p -> 'I_n) (g : 'I_q -> 'I_n) : (0 < p)%N -> (forall i j, vis (f i) (g j)) ->
  (\rank (centre R p *m (colsub f X)^T) * \rank (colsub g X) <= reach_dimension)%N.
Proof.
move=> p0 fg; rewrite -rank_two_sided; apply: rank_of_kernel => M e.
have {}e : less_key (X^T *m M *m X) = 0 := e.
have -> : two_sided (centre R p *m (colsub f X)^T) (colsub g X) M = centre R p *m mxsub f g (X^T *m M *m X).
  rewrite /= -!mulmxA; congr (_ *m _); rewrite !mulmxA; apply/matrixP => i j; rewrite !mxE.
  apply: eq_bigr => l _; rewrite !mxE; congr (_ * _); apply: eq_bigr => t _; by rewrite !mxE.
move: (X^T *m M *m X) e => L e.
have -> : mxsub f g L = ones R p *m \row_j L (a (g j)) (g j).
  apply/matrixP => i j; rewrite onesE !mxE.
  by have /matrixP/(_ (f i) (g j)) := e; rewrite !mxE fg mul1r => /eqP; rewrite subr_eq0 => /eqP.
by rewrite mulmxA centre_ones ?nR0 // mul0mx.
Qed.

(* the differences of keys that query j sees, by rows *)
Definition seen_keys j : 'M[R]_(n, d) := \matrix_(i, t) ((vis i j)%:R * (X t i - X t (a j))).

(* queries f(l) whose tokens are a basis, and see all that the other queries see: each gives its own dimensions *)
Theorem reach_basis (f : 'I_d -> 'I_n) : \rank (colsub f X) = d ->
  (forall j, (exists l, f l = j) \/ forall i l, vis i j -> vis i (f l)) ->
  reach_dimension = (\sum_l \rank (seen_keys (f l)))%N.
Proof.
move=> rf more; pose B := colsub f X; pose h := [linear of by_column (fun l => seen_keys (f l))].
have /row_fullP [B' hB'] : row_full B by rewrite /row_full rf.
have BB' : B *m B' = 1%:M by apply: mulmx1C.
rewrite -rank_by_column.
have full : row_full (lin_mx (two_sided (1%:M : 'M[R]_d) B)).
  by apply/row_fullP; exists (lin_mx (two_sided (1%:M : 'M_d) B')); rewrite two_sidedM mulmx1 hB' two_sided1.
case: (eqmxMfull (lin_mx h) full) => <- _.
have -> : lin_mx (two_sided (1%:M : 'M_d) B) *m lin_mx h = lin_mx [linear of h \o two_sided (1%:M : 'M_d) B].
  by apply/row_matrixP => i; rewrite !rowE mulmxA !mul_rV_lin mxvecK.
have hE M i l : h (two_sided (1%:M : 'M_d) B M) i l = less_key (X^T *m M *m X) i (f l).
  rewrite [LHS]mxE /= mul1mx.
  have entry i' : (X^T *m M *m X) i' (f l) = \sum_t X t i' * (M *m B) t l.
    by rewrite -mulmxA mxE; apply: eq_bigr => t _; rewrite !mxE; congr (_ * _); apply: eq_bigr => t' _; rewrite !mxE.
  rewrite [RHS]mxE !entry -sumrB mulr_sumr mxE; apply: eq_bigr => t _.
  by rewrite [seen_keys _ _ _]mxE -mulrA mulrBl.
apply/eqP; rewrite eqn_leq; apply/andP; split; apply: rank_of_kernel => M e; last first.
  apply/matrixP => i l; rewrite [LHS](hE M) [RHS]mxE.
  by have /matrixP/(_ i (f l)) : less_key (X^T *m M *m X) = 0 := e; rewrite [X in _ = X]mxE.
suff : less_key (X^T *m M *m X) = 0 by [].
have {}e i l : less_key (X^T *m M *m X) i (f l) = 0.
  by rewrite -hE; have /matrixP/(_ i l) := e; rewrite [X in _ = X]mxE.
apply/matrixP => i j; rewrite [RHS]mxE; have [[l <- //] | allseen] := more j.
case: (boolP (vis i j)) => [v | /negPf nv]; last by rewrite mxE nv mul0r.
have eq2 i1 i2 l : vis i1 j -> vis i2 j -> (X^T *m M *m X) i1 (f l) = (X^T *m M *m X) i2 (f l).
  have one i' : vis i' j -> (X^T *m M *m X) i' (f l) = (X^T *m M *m X) (a (f l)) (f l).
    by move=> /(allseen _ l) v'; have := e i' l; rewrite mxE v' mul1r => /eqP; rewrite subr_eq0 => /eqP.
  by move=> /one -> /one ->.
have comb : X^T *m M *m X = colsub f (X^T *m M *m X) *m (B' *m X).
  have -> : colsub f (X^T *m M *m X) = X^T *m M *m B.
    by apply/matrixP => i' l; rewrite !mxE; apply: eq_bigr => t _; rewrite !mxE.
  by rewrite [RHS]mulmxA -(mulmxA _ B) BB' mulmx1.
rewrite mxE v mul1r comb ![(colsub _ _ *m _) _ _]mxE -sumrB big1 // => l _.
by rewrite ![colsub _ _ _ _]mxE (eq2 i (a j) l v (seen j)) subrr.
Qed.
End Reach.

(* Without a mask, any tokens X of rank r: the dimension is r (r - 1) if 1 is in the row space of X, else r^2. *)
Theorem full_reach (R : expField) d n a (X : 'M[R]_(d, n)) : (0 < n)%N ->
  reach_dimension (fun _ _ => true) a X = ((\rank X - ((ones R n)^T <= X)%MS) * \rank X)%N.
Proof.
move=> n0; rewrite -rank_centred //; apply/eqP; rewrite eqn_leq reach_le //=.
have := @reach_ge R d n (fun _ _ => true) a X n n id id n0 (fun _ _ => isT).
by rewrite (_ : colsub id X = X) //; apply/matrixP => i j; rewrite mxE.
Qed.

Section Causal.
Variables (R : expField) (d n : nat) (X : 'M[R]_(d, n.+1)).
(* the first p columns; the last d *)
Definition first p (i : 'I_p) : 'I_n.+1 := inord i.
Definition last_queries (l : 'I_d) : 'I_n.+1 := inord (n.+1 - d + l).
Local Notation key0 := (fun _ : 'I_n.+1 => ord0).

Lemma sub_colsub m1 m2 p q (A : 'M[R]_(m1, p)) (B : 'M[R]_(m2, p)) (g : 'I_q -> 'I_p) :
  (A <= B)%MS -> (colsub g A <= colsub g B)%MS.
Proof.
case/submxP => D ->; apply/submxP; exists D; apply/matrixP => i j; rewrite !mxE.
by apply: eq_bigr => t _; rewrite mxE.
Qed.

Lemma rank_colsub m p q (A : 'M[R]_(m, p)) (g : 'I_q -> 'I_p) : (\rank (colsub g A) <= \rank A)%N.
Proof.
have -> : colsub g A = A *m colsub g 1%:M.
  by rewrite -[in LHS](mulmx1 A); apply/matrixP => i j; rewrite !mxE; apply: eq_bigr => t _; rewrite !mxE.
exact: mxrankM_maxl.
Qed.

(* query j: the keys 0, ..., j, centred *)
Lemma rank_seen (j : 'I_n.+1) : \rank (seen_keys causal key0 X j) =
  (\rank (colsub (@first j.+1) X) - ((ones R j.+1)^T <= colsub (@first j.+1) X)%MS)%N.
Proof.
rewrite -rank_centred //.
have seenE (v : 'cV_d) i : (seen_keys causal key0 X j *m v) i 0 =
    (causal i j)%:R * ((X^T *m v) i 0 - (X^T *m v) ord0 0).
  by rewrite !mxE -sumrB mulr_sumr; apply: eq_bigr => t _; rewrite !mxE -mulrA mulrBl.
have firstE (v : 'cV_d) i : ((colsub (@first j.+1) X)^T *m v) i 0 = (X^T *m v) (first i) 0.
  by rewrite !mxE; apply: eq_bigr => t _; rewrite !mxE.
have firstN (i : 'I_j.+1) : first i = i :> nat by rewrite inordK // (leq_trans (ltn_ord i)).
apply/eqP; rewrite eqn_leq; apply/andP; split; apply: mxrankS; apply: ker_submx => v.
  rewrite -mulmxA => /(centred_constant) [c ec].
  have ce (i : 'I_n.+1) : causal i j -> (X^T *m v) i 0 = c 0 0.
    move=> ij; have lt : (i < j.+1)%N by [].
    rewrite -(onesE c (Ordinal lt) 0) -ec firstE; congr ((_ *m _) _ _); apply/val_inj.
    by rewrite /= firstN.
  apply/matrixP => i k; rewrite !ord1 seenE [RHS]mxE.
  by case: (boolP (causal i j)) => [v' | _]; rewrite ?mul0r // !ce // subrr mulr0.
move=> e; rewrite -mulmxA.
have -> : (colsub (@first j.+1) X)^T *m v = ones R j.+1 *m ((X^T *m v) ord0 0)%:M.
  apply/matrixP => i k; rewrite ord1 firstE onesE [RHS]mxE eqxx mulr1n.
  have := seenE v (first i); rewrite e mxE [causal _ _](_ : _ = true) ?mul1r.
    by move=> /esym/eqP; rewrite subr_eq0 => /eqP.
  by rewrite /causal firstN -ltnS ltn_ord.
by rewrite mulmxA centre_ones ?nR0 // mul0mx.
Qed.

Hypotheses (dn : (d <= n)%N) (first_free : \rank (colsub (@first d) X) = d).

(* b: whether 1 is in the row space of the first p columns, p > d *)
Lemma rank_seen_min (b : bool) (j : 'I_n.+1) :
  (forall p, (d < p <= n.+1)%N -> ((ones R p)^T <= colsub (@first p) X)%MS = b) ->
  \rank (seen_keys causal key0 X j) = minn j (d - b).
Proof.
move=> hb; rewrite rank_seen; have jn := ltn_ord j.
case: (leqP d j) => dj.
  rewrite hb ?ltnS ?dj //; have -> : \rank (colsub (@first j.+1) X) = d.
    apply/eqP; rewrite eqn_leq rank_leq_row -{1}first_free.
    have le : (d <= j.+1)%N by apply: leqW.
    have -> : colsub (@first d) X = colsub (widen_ord le) (colsub (@first j.+1) X).
      by apply/matrixP => i l; rewrite !mxE.
    exact: rank_colsub.
  by case: b {hb}; lia.
have /row_fullP [B hB] : row_full (colsub (@first d) X) by rewrite /row_full first_free.
have full : row_full (colsub (@first j.+1) X).
  apply/row_fullP; exists (rowsub (widen_ord dj) B).
  have -> : colsub (@first j.+1) X = colsub (widen_ord dj) (colsub (@first d) X).
    by apply/matrixP => i l; rewrite !mxE.
  apply/matrixP => i l; have /matrixP/(_ (widen_ord dj i) (widen_ord dj l)) := hB; rewrite !mxE => e.
  by apply: etrans (etrans e _); [apply: eq_bigr => t _; rewrite !mxE | rewrite -!val_eqE].
rewrite submx_full // (eqP full); case: b {hb}; lia.
Qed.

Hypothesis last_free : \rank (colsub last_queries X) = d.

Lemma causal_sum (b : bool) :
  (forall p, (d < p <= n.+1)%N -> ((ones R p)^T <= colsub (@first p) X)%MS = b) ->
  reach_dimension causal key0 X = (\sum_(l < d) minn (n.+1 - d + l) (d - b))%N.
Proof.
move=> hb; have lE l : last_queries l = (n.+1 - d + l)%N :> nat by rewrite inordK //; have := ltn_ord l; lia.
rewrite (reach_basis _ last_free) => [|j //|j].
  by apply: eq_bigr => l _; rewrite (rank_seen_min _ hb) lE.
case: (leqP (n.+1 - d) j) => jd; [left | right].
  have lt : (j - (n.+1 - d) < d)%N by have := ltn_ord j; lia.
  by exists (Ordinal lt); apply/val_inj; rewrite /= lE /=; lia.
by move=> i l; rewrite /causal lE; lia.
Qed.
End Causal.

Lemma sum_id k : (2 * (\sum_(l < k) l) = k * k.-1)%N.
Proof. by elim: k => [|k IH]; rewrite ?big_ord0 // big_ord_recr /= mulnDr IH; case: k {IH} => //= k; lia. Qed.

Lemma pred_square m : (m * m.-1 + m * true = m ^ 2)%N.
Proof. by case: m => [|m] //; rewrite muln1 /= -mulnSr mulnn. Qed.

Lemma sum_min (b : bool) m d : (\sum_(l < d) minn (m + l) (d - b) =
  if m + b <= d then ((m + d) * (m + d).-1)./2 - m * m.-1 - m * b else d * (d - b))%N.
Proof.
case: ifP => h; last first.
  rewrite (eq_bigr (fun _ => d - b)%N) ?sum_nat_const ?card_ord // => l _; lia.
have [k ek] : exists k, d = (k + m)%N by exists (d - m)%N; lia.
have bk : (b <= k)%N by lia.
rewrite {d h}ek big_split_ord /= (eq_bigr (fun l : 'I_k => m + l)%N) => [|l _]; last by have := ltn_ord l; lia.
rewrite [X in (_ + X)%N](eq_bigr (fun _ : 'I_m => k + m - b)%N) => [|l _]; last lia.
rewrite big_split /= !sum_nat_const !card_ord.
have := sum_id k; move: (\sum_(l < k) l)%N => S s.
have -> : ((m + (k + m)) * (m + (k + m)).-1)%N = (S + k * m + m * (k + m) + m * m.-1).*2.
  by rewrite -mul2n; case: m => [|m]; case: k {bk} s => [|k] s /=; lia.
by rewrite doubleK; case: b bk; case: m => [|m] /=; lia.
Qed.

(* The contexts of causal heads of any size on N > d tokens, the first d independent and the last d too, m = N - d: their
   log P, less the first key's in each column, are a linear space, the image of the logits X^T M X. If 1 is not in the row space of
   the first d + 1, its dimension is N (N - 1) / 2 - m (m - 1) for N <= 2 d, and d^2 beyond; if 1 is in the row space of
   X, it is N (N - 1) / 2 - m^2 for N <= 2 d - 1, and d^2 - d beyond. *)
Theorem causal_reach (R : expField) d n (X : 'M[R]_(d, n.+1)) : (d < n.+1)%N ->
  \rank (colsub (@first n d) X) = d -> \rank (colsub (@last_queries d n) X) = d ->
  let N := n.+1 in let m := (N - d)%N in let dimension := reach_dimension causal (fun _ => ord0) X in
  [/\ forall s (P : 'M[R]_N), s != 0 -> mstochastic causal P -> (exists k, mreachable causal k s X P) <->
        (mxvec (less_key causal (fun _ => ord0) (logm P)) <= lin_mx (reach causal (fun _ => ord0) X))%MS,
      ~~ ((ones R d.+1)^T <= colsub (@first n d.+1) X)%MS ->
        dimension = (if N <= 2 * d then (N * (N - 1))./2 - m * (m - 1) else d ^ 2)%N &
      ((ones R N)^T <= X)%MS ->
        dimension = (if N <= 2 * d - 1 then (N * (N - 1))./2 - m ^ 2 else d ^ 2 - d)%N].
Proof.
move=> dN ff lf N m dimension; have dn : (d <= n)%N by [].
have mN : (m + d = N)%N by rewrite /m /N; lia.
split=> [s P s0 sP | no | yes]; first exact: reach_image.
  rewrite /dimension (causal_sum dn ff lf (b := false)) => [|p /andP [dp pN]].
    rewrite sum_min -/m mN; have -> : (m + false <= d)%N = (N <= 2 * d)%N by lia.
    by rewrite !subn1 muln0 !subn0 mulnn.
  apply/negP => /(sub_colsub (widen_ord dp)) le; case/negP: no.
  rewrite [X in (X <= _)%MS](_ : _ = colsub (widen_ord dp) (ones R p)^T); last by apply/matrixP => i j; rewrite !mxE.
  by rewrite [X in (_ <= X)%MS](_ : _ = colsub (widen_ord dp) (colsub (@first n p) X)) //; apply/matrixP => i j; rewrite !mxE.
rewrite /dimension (causal_sum dn ff lf (b := true)) => [|p /andP [dp pN]].
  rewrite sum_min -/m mN; have -> : (m + true <= d)%N = (N <= 2 * d - 1)%N by lia.
  by rewrite -subnDA pred_square mulnBr muln1 mulnn (subn1 N).
rewrite [X in (X <= _)%MS](_ : _ = colsub (@first n p) (ones R N)^T); last by apply/matrixP => i j; rewrite !mxE.
exact: sub_colsub.
Qed.
