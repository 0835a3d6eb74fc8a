(* Theorem C for almost every matrix: row i is new iff i < |K_i|. For all t but at most m^2, which
   says nothing over a field with no more elements than that. *)
From mathcomp Require Import all_ssreflect all_algebra zify.
From rankbound Require Import model linalg almost_all theorem_c.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section GenericCompletion.
Variables (F : fieldType) (m n : nat) (vis : 'I_m -> 'I_n -> bool).
Implicit Types D : 'M[F]_(m, n).
Local Notation cut := (keep_visible F vis).

Definition seen i : {set 'I_n} := [set j | vis i j].

Lemma rank_cut i : (\rank (cut i) <= #|seen i|)%N.
Proof.
have le : (cut i <= \sum_(j in seen i) <<delta_mx 0 j : 'rV[F]_n>>)%MS.
  apply/row_subP => j; rewrite row_diag_mx mxE.
  case: (boolP (vis i j)) => v; last by rewrite scale0r sub0mx.
  by rewrite scale1r (sumsmx_sup j) ?inE // genmxE.
apply: leq_trans (mxrankS le) (leq_trans (mxrank_sum_leqif _) _) => /=.
by rewrite -sum1_card; apply: leq_sum => j _; rewrite mxrank_gen rank_leq_row.
Qed.

Lemma rank_above p i D : (\rank (rows_before D p *m cut i) <= minn p #|seen i|)%N.
Proof.
rewrite leq_min; apply/andP; split; last exact: leq_trans (mxrankM_maxr _ _) (rank_cut i).
rewrite -mulmxA; apply: leq_trans (mxrankM_maxl _ _) _.
have -> : pid_mx p = (pid_mx p : 'M_(m, p)) *m (pid_mx p : 'M_(p, m)) :> 'M[F]_m.
  by rewrite mul_pid_mx !minnn.
exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
Qed.

(* Vandermonde rows: every block has all the rank it can have *)
Variable x : 'I_n -> F.
Hypothesis xI : injective x.
Definition powers : 'M[F]_(m, n) := \matrix_(i, j) x j ^+ i.

Lemma rank_powers p i : (p <= m)%N -> (minn p #|seen i| <= \rank (rows_before powers p *m cut i))%N.
Proof.
move=> pm; set q := minn p _; have [qp qK] : (q <= p)%N /\ (q <= #|seen i|)%N by rewrite geq_minl geq_minr.
pose V : 'M[F]_(q, n) := \matrix_(l, j) (x j ^+ l *+ vis i j).
have /eqP <- : row_free V.
  apply: inj_row_free => u uV; apply: (vandermonde xI qK) => j; rewrite inE => v.
  have /matrixP/(_ 0 j) := uV; rewrite mxE [RHS]mxE; apply: etrans.
  by apply: eq_bigr => l _; rewrite mxE v mulr1n.
apply: mxrankS; apply/row_subP => l.
have lm : (l < m)%N by apply: leq_trans (ltn_ord l) (leq_trans qp pm).
have -> : row l V = row (Ordinal lm) (rows_before powers p *m cut i).
  apply/rowP => j; rewrite [LHS]mxE [RHS]mxE keep_visibleE rows_beforeE !mxE /=.
  by rewrite (leq_trans (ltn_ord l) qp) mulr1n.
exact: row_sub.
Qed.

(* D plus t times the powers of distinct numbers: row i is new iff i < |K_i|, for all t but the roots of a
   polynomial p <> 0 of degree at most m^2 *)
Theorem generic_rows D : exists p : {poly F}, [/\ p != 0, (size p <= (m * m).+1)%N &
  forall t, ~~ root p t -> forall i, new_row vis (D + t *: powers) i = (i < #|seen i|)%N].
Proof.
have blocks p i : exists2 f : {poly F}, (f != 0) && (size f <= p.+1)%N & forall t, ~~ root f t ->
    (minn p #|seen i| <= \rank (rows_before (D + t *: powers) p *m cut i))%N \/ (m < p)%N.
  have [f [f0 sf fP]] := generic_rank (rows_before D p *m cut i) (rows_before powers p *m cut i).
  exists f => [|t /fP r].
    by rewrite f0; apply: leq_trans sf _; apply: leq_trans (rank_above _ _ _) (geq_minl _ _).
  case: (leqP p m) => pm; [left | by right].
  apply: leq_trans (rank_powers i pm) (leq_trans r (eq_leq _)).
  by rewrite /rows_before mulmxDr mulmxDl -scalemxAr -scalemxAl.
have [f f0 fP] := fin_all_exists2 (fun i : 'I_m => blocks i i).
have [g g0 gP] := fin_all_exists2 (fun i : 'I_m => blocks i.+1 i).
have fg0 i : f i * g i != 0 by case/andP: (f0 i) => ? _; case/andP: (g0 i) => ? _; rewrite mulf_neq0.
have fg i : (size (f i * g i)%R <= (2 * i + 1).+1)%N.
  apply: leq_trans (size_mul_leq _ _) _; case/andP: (f0 i) => _; case/andP: (g0 i) => _; lia.
have sq q : (\sum_(i < q) (2 * i + 1).+1 <= q + q * q)%N.
  elim: q => [|q IH]; rewrite ?big_ord0 // big_ord_recr /=.
  by apply: leq_trans (leq_add IH (leqnn _)) _; rewrite (mulSn q) mulnS; move: (q * q)%N => Q; lia.
exists (\prod_(i < m) (f i * g i)); split; first by apply/prodf_neq0.
  rewrite size_prod // card_ord leq_subLR; apply: (@leq_trans (\sum_(i < m) (2 * i + 1).+1).+1).
    by rewrite ltnS leq_sum.
  by rewrite addnS ltnS sq.
move=> t nr i.
have [rf rg] : ~~ root (f i) t /\ ~~ root (g i) t.
  by move: nr; rewrite (bigD1 i) //= !rootM !negb_or => /andP [/andP []].
have lo : \rank (rows_before (D + t *: powers) i *m cut i) = minn i #|seen i|.
  apply/eqP; rewrite eqn_leq rank_above /=.
  by case: (fP i t rf) => //; rewrite ltnNge ltnW.
have hi : \rank (rows_before (D + t *: powers) i.+1 *m cut i) = minn i.+1 #|seen i|.
  apply/eqP; rewrite eqn_leq rank_above /=.
  by case: (gP i t rg) => //; rewrite ltnNge ltn_ord.
have := new_row_gain vis (D + t *: powers) i; rewrite lo hi.
case: (ltnP i #|seen i|) => [lt | ge].
  by rewrite (minn_idPl lt) subSnn; case: new_row.
by rewrite (minn_idPr (leqW ge)) subnn; case: new_row.
Qed.

End GenericCompletion.
