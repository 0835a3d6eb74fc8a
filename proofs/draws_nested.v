(* Draws under a nested mask: logits with entries from a finite set S of numbers. The masked log-rank is
   T = max {i : i <= |K_i|} for all but a share of at most T / |S|, whatever S and the numbers in it. *)
From mathcomp Require Import all_ssreflect fingroup perm all_algebra zify.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_c theorem_c_softmax theorem_c_ordered theorem_c_generic theorem_c_causal theorem_c_prefix draws.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Lemma rank_mxsub (F : fieldType) m n p q (f : 'I_p -> 'I_m) (g : 'I_q -> 'I_n) (A : 'M[F]_(m, n)) :
  (\rank (mxsub f g A) <= \rank A)%N.
Proof.
have -> : mxsub f g A = (\matrix_(a, i) (i == f a)%:R) *m A *m (\matrix_(j, b) (j == g b)%:R).
  apply/matrixP => a b; rewrite -mulmxA !mxE (bigD1 (f a)) //= !mxE eqxx mul1r (bigD1 (g b)) //= !mxE eqxx mulr1.
  rewrite !big1 ?addr0 // => [i | j] ne; first by rewrite !mxE (negPf ne) mul0r.
  by rewrite !mxE (negPf ne) mulr0.
exact: leq_trans (mxrankM_maxl _ _) (mxrankM_maxr _ _).
Qed.

Section Cross.
Variables (R : expField) (n : nat) (vis : 'I_n -> 'I_n -> bool) (o : 'I_n).
Hypotheses (nest : nested vis) (o_seen : forall j, vis o j).
Variables (T : nat) (f g : 'I_T -> 'I_n) (L : 'M[R]_n).

(* a visible block that is not singular, and with row o crosses all that is visible: the masked log-rank is
   its size *)
Lemma cross : \det (block f g o L) != 0 -> (forall a b, vis (f a) (g b)) ->
  (forall i j, vis i j -> [\/ i = o, exists a, i = f a | exists b, j = g b]) ->
  masked_logrank vis o (msoftmax vis L) = T.
Proof.
move=> nz seen all; set D := block f g o L in nz.
have uD : D \in unitmx by rewrite unitmxE unitfE.
apply/eqP; rewrite eqn_leq; apply/andP; split.
  pose A : 'M[R]_(n, T) := \matrix_(i, b) (L i (g b) - L o (g b)).
  pose B : 'M[R]_(T, n) := \matrix_(a, j) (L (f a) j - L o j).
  apply: leq_trans (_ : \rank (A *m invmx D *m B) <= T)%N; last first.
    exact: leq_trans (mxrankM_maxr _ _) (rank_leq_row _).
  rewrite /masked_logrank; apply: (new_rows_le nest) => i j v; rewrite log_ratioE //.
  case: (all i j v) => [-> | [a ia] | [b jb]].
  - rewrite subrr mxE big1 // => b _; rewrite [X in X * _]mxE big1 ?mul0r // => b' _.
    by rewrite mxE subrr mul0r.
  - have -> : (A *m invmx D *m B) i j = (row i (A *m invmx D *m B)) 0 j by rewrite [RHS]mxE.
    rewrite !row_mul; have -> : row i A = row a D by apply/rowP => b; rewrite !mxE ia.
    by rewrite -!row_mul mulmxV // mul1mx !mxE ia.
  have -> : (A *m invmx D *m B) i j = (col j (A *m invmx D *m B)) i 0 by rewrite [RHS]mxE.
  rewrite col_mul; have -> : col j B = col b D by apply/colP => a; rewrite !mxE jb.
  by rewrite -col_mul -mulmxA mulVmx // mulmx1 !mxE jb.
have [M hM rM] := new_rows_reached nest (log_ratio o (msoftmax vis L)).
apply: leq_trans rM; apply: leq_trans (rank_mxsub f g M).
suff -> : mxsub f g M = D by rewrite mxrank_unit.
by apply/matrixP => a b; rewrite [LHS]mxE hM // log_ratioE // mxE.
Qed.
End Cross.

Section Nested.
Variables (R : expField) (n : nat) (vis : 'I_n.+1 -> 'I_n.+1 -> bool).
Hypotheses (nest : nested vis) (first_seen : forall j, vis ord0 j).
Local Notation size := (\max_(i < n.+1 | (i <= #|seen vis i|)%N) i)%N.

(* rows 1, ..., T and T queries that see them all, those that see more keys among them *)
Lemma crossing : exists (f g : 'I_size -> 'I_n.+1), [/\ injective f, injective g, forall t, f t != ord0,
  forall a b, vis (f a) (g b) &
  forall i j, vis i j -> [\/ i = ord0, exists a, i = f a | exists b, j = g b]].
Proof.
have [|t Kt eT] := @eq_bigmax_cond _ (fun i : 'I_n.+1 => i <= #|seen vis i|)%N (fun i => i : nat).
  by apply/card_gt0P; exists ord0.
have {eT} eT : size = t by exact: eT.
have most (i : 'I_n.+1) : (t < i)%N -> (#|seen vis i| < i)%N.
  move=> ti; rewrite ltnNge; apply/negP => iK.
  have := @leq_bigmax_cond _ (fun i : 'I_n.+1 => i <= #|seen vis i|)%N (fun i => i : nat) i iK.
  by rewrite -/size eT leqNgt ti.
rewrite eT; pose A : {set 'I_n.+1} := [set j | [exists i : 'I_n.+1, (t < i)%N && vis i j]].
have AK : A \subset seen vis t.
  apply/subsetP => j; rewrite !inE => /existsP [i /andP [ti v]]; exact: nest (ltnW ti) v.
have At : (#|A| <= t)%N.
  have [tn | tn] := ltnP t.+1 n.+1; last first.
    rewrite (_ : A = set0) ?cards0 //; apply/setP => j; rewrite !inE; apply/negbTE/existsPn => i.
    by rewrite negb_and -leqNgt -ltnS (leq_trans (ltn_ord i) tn).
  pose u := Ordinal tn; rewrite -ltnS; apply: leq_ltn_trans (most u (ltnSn t)).
  apply/subset_leq_card/subsetP => j; rewrite !inE => /existsP [i /andP [ti v]].
  exact: (@nest i u j ti v).
pose s := enum A ++ enum (seen vis t :\: A).
have us : uniq s.
  rewrite cat_uniq !enum_uniq andbT /=; apply/hasPn => j; rewrite mem_enum inE => /andP [jA _].
  by apply: contra jA; rewrite /= mem_enum.
have ss : seq.size s = #|seen vis t|.
  by rewrite size_cat -!cardE -(cardsID A (seen vis t)) (setIidPr AK).
have sK j : j \in s -> vis t j.
  rewrite mem_cat !mem_enum in_setD => /orP [jA | /andP [_]]; last by rewrite inE.
  by have := subsetP AK j jA; rewrite inE.
pose f (a : 'I_t) : 'I_n.+1 := inord a.+1.
pose g (b : 'I_t) : 'I_n.+1 := nth ord0 s b.
have fE a : f a = a.+1 :> nat by rewrite inordK // (leq_ltn_trans (ltn_ord a)).
exists f, g; split.
- by move=> a b /(congr1 (@nat_of_ord _)); rewrite !fE => -[] /val_inj.
- move=> a b /eqP; rewrite nth_uniq ?ss ?(leq_trans (ltn_ord _) Kt) //; move/eqP; exact: val_inj.
- by move=> a; rewrite -val_eqE /= fE.
- move=> a b; apply: (nest (i := t)); first by rewrite fE.
  by apply: sK; apply: mem_nth; rewrite ss (leq_trans (ltn_ord _) Kt).
move=> i j v; have [-> | i0] := eqVneq i ord0; first by constructor 1.
have [it | ti] := leqP i t.
  constructor 2; have it' : (i.-1 < t)%N by rewrite prednK // lt0n.
  by exists (Ordinal it'); apply: val_inj; rewrite /= fE prednK // lt0n.
constructor 3; have jA : j \in enum A by rewrite mem_enum inE; apply/existsP; exists i; rewrite ti.
have jt : (index j (enum A) < t)%N by apply: leq_trans At; rewrite cardE index_mem.
by exists (Ordinal jt); rewrite /g /= nth_cat index_mem jA nth_index.
Qed.
End Nested.

(* keys in the order pi: a block that is not singular has the least head size T, on all X of full column rank *)
Lemma nested_block (R : expField) n (vis : 'I_n.+1 -> 'I_n.+1 -> bool) (pi : 'S_n.+1) :
  nested (fun i => vis (pi i)) -> (forall j, vis (pi ord0) j) ->
  let T := (\max_(i < n.+1 | (i <= #|[set j | vis (pi i) j]|)%N) i)%N in
  exists f g : 'I_T -> 'I_n.+1, [/\ injective f, injective g, forall t, f t != pi ord0 &
  forall L : 'M[R]_n.+1, \det (block f g (pi ord0) L) != 0 ->
    forall d k (s : R) (X : 'M_(d, n.+1)), s != 0 -> \rank X = n.+1 ->
    mreachable vis k s X (msoftmax vis L) <-> (T <= k)%N].
Proof.
move=> nest seen T; pose w i := vis (pi i).
have [f [g [fI gI f0 vfg all]]] := crossing (vis := w) nest.
exists (pi \o f), g; split=> //; first by move=> a b /perm_inj/fI.
  by move=> t; rewrite (inj_eq perm_inj).
move=> L nz d k s X s0 rX; apply: iff_trans (theorem_c_ordered _ nest seen s0 rX _) _.
  by apply: msoftmax_stochastic => j; exists (pi ord0).
have E i j : msoftmax vis L (pi i) j = msoftmax w (row_perm pi L) i j.
  rewrite !mxE /w; case: ifP => // _; congr (_ / _).
  by rewrite (reindex_inj (@perm_inj _ pi)); apply: eq_bigr => l _; rewrite !mxE.
have -> : row_perm pi (log_ratio (pi ord0) (msoftmax vis L)) = log_ratio ord0 (msoftmax w (row_perm pi L)).
  by apply/matrixP => i j; rewrite [LHS]mxE [LHS]mxE [RHS]mxE !E.
have nz' : \det (block f g ord0 (row_perm pi L)) != 0.
  by rewrite (_ : block _ _ _ _ = block (pi \o f) g (pi ord0) L) //; apply/matrixP => a b; rewrite !mxE.
by rewrite -[new_rows _ _]/(masked_logrank w ord0 _) (cross nest seen nz' vfg all).
Qed.

(* logits with entries v(x), x in a finite set S: all but a share of T / |S| *)
Theorem nested_draws (R : expField) n (vis : 'I_n.+1 -> 'I_n.+1 -> bool) (pi : 'S_n.+1) (S : finType) (v : S -> R) :
  injective v -> nested (fun i => vis (pi i)) -> (forall j, vis (pi ord0) j) ->
  let T := (\max_(i < n.+1 | (i <= #|[set j | vis (pi i) j]|)%N) i)%N in
  exists2 rare : {set 'M[S]_n.+1}, (#|rare| * #|S| <= T * #|{: 'M[S]_n.+1}|)%N &
  forall M, M \notin rare -> forall d k (s : R) (X : 'M_(d, n.+1)), s != 0 -> \rank X = n.+1 ->
    mreachable vis k s X (msoftmax vis (map_mx v M)) <-> (T <= k)%N.
Proof.
move=> vI nest seen T; have [f [g [fI gI f0 h]]] := nested_block R nest seen.
by exists [set M | \det (block f g (pi ord0) (map_mx v M)) == 0] => [|M]; [apply: singular_draws | rewrite inE; apply: h].
Qed.

(* prefix p, and causal masks as p = 0: max (floor(N/2), p - 1) for N = n + 1 tokens *)
Corollary prefix_draws (R : expField) n p (S : finType) (v : S -> R) : injective v -> (p <= n.+1)%N ->
  let T := maxn (n.+1)./2 p.-1 in
  exists2 rare : {set 'M[S]_n.+1}, (#|rare| * #|S| <= T * #|{: 'M[S]_n.+1}|)%N &
  forall M, M \notin rare -> forall d k (s : R) (X : 'M_(d, n.+1)), s != 0 -> \rank X = n.+1 ->
    mreachable (prefix p) k s X (msoftmax (prefix p) (map_mx v M)) <-> (T <= k)%N.
Proof.
move=> vI pn T; have eT : (\max_(i < n.+1 | i <= #|[set j | prefix p ((1%g : 'S_n.+1) i) j]|) i = T)%N.
  rewrite /T -(prefix_count pn); apply: eq_bigl => i; congr (_ <= _)%N; apply: eq_card => j.
  by rewrite !inE perm1.
have := @nested_draws R n (prefix p) 1%g S v vI; rewrite /= eT; apply.
  by move=> i l j li; rewrite !perm1; apply: prefix_nested.
by move=> j; rewrite perm1 /prefix orbT.
Qed.

(* no mask, n + 1 tokens: rows and columns but the first, less the first row. Where this block is not singular, C L has
   the rank n *)
Lemma full_block (F : fieldType) n (L : 'M[F]_n.+1) : n.+1%:R != 0 :> F ->
  \det (block (lift ord0) (lift ord0) ord0 L) != 0 -> \rank (centre F n.+1 *m L) = n.
Proof.
move=> n0 nz; apply/eqP; rewrite eqn_leq -ltnS logrank_lt //=.
rewrite -[X in (X <= _)%N](_ : \rank (block (lift ord0) (lift ord0) ord0 L) = n); last first.
  by rewrite mxrank_unit // unitmxE unitfE.
pose D : 'M[F]_n.+1 := L - ones F n.+1 *m row 0 L.
have -> : block (lift ord0) (lift ord0) ord0 L = mxsub (lift ord0) (lift ord0) D.
  by apply/matrixP => i j; rewrite !mxE big_ord1 !mxE mul1r.
apply: leq_trans (rank_mxsub _ _ D) _; have [c hc] := logrank_attained L.
suff -> : D = (1%:M - ones F n.+1 *m delta_mx 0 0) *m (centre F n.+1 *m L) by apply: mxrankM_maxr.
rewrite -hc mulmxBl mul1mx -mulmxA -rowE; apply/matrixP => i j.
by rewrite !mxE !big_ord1 !mxE !mul1r big_ord1 !mxE mul1r opprD addrACA subrr addr0.
Qed.

(* the log-rank of softmax L is the rank of C L *)
Lemma logrank_softmax (R : expField) n (L : 'M[R]_n) : (0 < n)%N -> logrank (softmax L) = \rank (centre R n *m L).
Proof.
move=> n0; have [c h] := (softmax_eq L (softmax_stochastic L n0)).1 erefl.
by rewrite {2}h (centre_gauge (nR0 R n0)).
Qed.

Lemma full_logrank (R : expField) n (L : 'M[R]_n.+1) :
  \det (block (lift ord0) (lift ord0) ord0 L) != 0 -> logrank (softmax L) = n.
Proof. by move=> nz; rewrite logrank_softmax // full_block ?pnatr_eq0. Qed.

(* all but a share of (n - 1) / |S| need head size n - 1 *)
Theorem full_draws (R : expField) n (S : finType) (v : S -> R) : injective v -> (0 < n)%N ->
  exists2 rare : {set 'M[S]_n}, (#|rare| * #|S| <= n.-1 * #|{: 'M[S]_n}|)%N &
  forall M, M \notin rare -> logrank (softmax (map_mx v M)) = n.-1.
Proof.
case: n => // n vI _; exists [set M | \det (block (lift ord0) (lift ord0) ord0 (map_mx v M)) == 0].
  by apply: singular_draws => //; exact: lift_inj.
by move=> M; rewrite inE; apply: full_logrank.
Qed.

(* tokens of rank below n >= 2: the logits L whose context some head has satisfy (L u)_i = (L u)_l, and two such L that
   agree but for the entry (i, j) are equal *)
Lemma deficient_once (R : expField) d n (X : 'M[R]_(d, n)) : (1 < n)%N -> (\rank X < n)%N ->
  exists (u : 'cV[R]_n) (i l j : 'I_n), let within (L : 'M[R]_n) := (L *m u) i 0 = (L *m u) l 0 in
  (forall L s k, reachable k s X (softmax L) -> within L) /\
  (forall L L', within L -> within L' -> (forall a b, (a, b) != (i, j) -> L a b = L' a b) -> L = L').
Proof.
move=> n1 rX; have n0 := ltnW n1.
have [u Xu u0] : exists2 u : 'cV[R]_n, X *m u = 0 & 1%:M *m u != 0.
  by apply: not_submx_witness; apply: contraL rX => /mxrankS; rewrite mxrank1 leqNgt.
rewrite mul1mx in u0; have [j uj] := cV0Pn _ u0.
pose i : 'I_n := Ordinal n0; pose l : 'I_n := Ordinal n1.
exists u, i, l, j; split=> [L s k [Wk [Wq]] | L L' e e' same].
  move=> /(contextP _ _ (softmax_stochastic _ n0)) [c hc].
  have [c' h'] := (softmax_eq L (softmax_stochastic _ n0)).1 erefl.
  have : centre R n *m L *m u = 0.
    have -> : centre R n *m L = centre R n *m ((Wk *m X)^T *m (s *: Wq *m X)).
      by rewrite hc {1}h' !(centre_gauge (nR0 R n0)).
    by rewrite -!mulmxA Xu !mulmx0.
  rewrite -mulmxA /centre mulmxBl mul1mx -scalemxAl -mulmxA scalemxAr => /eqP; rewrite subr_eq0 => /eqP/matrixP h.
  by rewrite (h i 0) (h l 0) !onesE.
have rowl : (L *m u) l 0 = (L' *m u) l 0 by rewrite !mxE; apply: eq_bigr => b _; rewrite same.
have : (L *m u) i 0 = (L' *m u) i 0 by rewrite e rowl e'.
rewrite !mxE (bigD1 j) //= [in RHS](bigD1 j) //= => /eqP.
rewrite (eq_bigr (fun b => L' i b * u b 0)) => [|b bj]; last by rewrite same // xpair_eqE (negPf bj) andbF.
rewrite (inj_eq (addIr _)) => /eqP/(mulIf uj) eij.
by apply/matrixP => a b; have [[-> ->] // | /eqP/same] := (a, b) =P (i, j).
Qed.

(* all but a share of 1 / |S| have a context that no head of any size has *)
Theorem deficient_draws (R : expField) d n (X : 'M[R]_(d, n)) (S : finType) (v : S -> R) : injective v ->
  (1 < n)%N -> (\rank X < n)%N ->
  exists2 rare : {set 'M[S]_n}, (#|rare| * #|S| <= #|{: 'M[S]_n}|)%N &
  forall M, M \notin rare -> forall s k, ~ reachable k s X (softmax (map_mx v M)).
Proof.
move=> vI n1 rX; have [u [i [l [j [h once]]]]] := deficient_once n1 rX.
exists [set M | (map_mx v M *m u) i 0 == (map_mx v M *m u) l 0] => [|M]; last first.
  by rewrite inE => /eqP no s k /h.
apply: (@thin_set S n n _ i j) => M M'; rewrite !inE => /eqP e /eqP e' same.
have E : map_mx v M = map_mx v M' by apply: once => // a b ab; rewrite !mxE same.
by apply/matrixP => a b; apply: vI; have /matrixP/(_ a b) := E; rewrite !mxE.
Qed.
