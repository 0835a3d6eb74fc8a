(* Theorem C, algebraic core, over any field: minimal rank of a completion of a nested partial matrix. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model linalg.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Completion.
Variables (F : fieldType) (m n : nat).
Variable vis : 'I_m -> 'I_n -> bool.
Hypothesis nest : nested vis.
Implicit Types D M : 'M[F]_(m, n).
Local Notation completes := (@model.completes F m n vis).
Local Notation keep_visible := (model.keep_visible F vis).
Local Notation new_row := (@model.new_row F m n vis).
Local Notation new_rows := (@model.new_rows F m n vis).

Lemma keep_visibleE p (A : 'M[F]_(p, n)) i l j : (A *m keep_visible i) l j = A l j *+ vis i j.
Proof. by rewrite mul_mx_diag !mxE; case: vis; rewrite ?mulr1 ?mulr0. Qed.

Lemma rows_beforeE D i l j : rows_before D i l j = D l j *+ (l < i)%N.
Proof.
rewrite mxE (bigD1 l) //= big1 => [|t /negPf tl].
  by rewrite mxE eqxx addr0; case: (l < i)%N; rewrite ?mul1r ?mul0r.
by rewrite mxE eq_sym (tl : (t == l :> nat) = false) mul0r.
Qed.

Lemma rows_before_all D : rows_before D m = D.
Proof. by rewrite /rows_before pid_mx_1 mul1mx. Qed.

Lemma above0 D : rows_before D 0 = 0.
Proof. by apply/matrixP => i j; rewrite rows_beforeE mxE. Qed.

(* what is visible in row i and above it is the same in every completion *)
Lemma completes_row M D (i : 'I_m) : completes M D -> row i M *m keep_visible i = row i D *m keep_visible i.
Proof.
move=> h; apply/matrixP => a j; rewrite !keep_visibleE !mxE.
by case: (boolP (vis i j)) => [/h -> | _].
Qed.

Lemma completes_above M D (i : 'I_m) : (forall (l : 'I_m) j, (l < i)%N -> vis l j -> M l j = D l j) ->
  rows_before M i *m keep_visible i = rows_before D i *m keep_visible i.
Proof.
move=> h; apply/matrixP => l j; rewrite !keep_visibleE !rows_beforeE.
case: (ltnP l i) => // li; case: (boolP (vis i j)) => // vij.
by rewrite h // (nest (ltnW li) vij).
Qed.

Lemma rows_before_mono M (i : nat) : (rows_before M i <= rows_before M i.+1)%MS.
Proof.
apply/submxP; exists (pid_mx i); rewrite /rows_before mulmxA mul_pid_mx.
by rewrite (minn_idPl (leqnSn i)); congr (_ *m _); apply/matrixP => a b; rewrite !mxE leq_min ltn_ord.
Qed.

Lemma row_above M (i : 'I_m) : (row i M <= rows_before M i.+1)%MS.
Proof.
have <- : row i (rows_before M i.+1) = row i M.
  by apply/matrixP => a j; rewrite mxE rows_beforeE ltnSn mxE.
exact: row_sub.
Qed.

(* the new rows depend on what is visible only *)
Lemma new_rows_ext D D' : completes D D' -> new_rows D = new_rows D'.
Proof.
move=> h; apply: eq_bigr => i _; rewrite /new_row (completes_row _ h).
by rewrite (@completes_above D D' i) // => l j _; apply: h.
Qed.

(* no completion has a rank below the number of new rows *)
Theorem new_rows_le M D : completes M D -> (new_rows D <= \rank M)%N.
Proof.
move=> h; rewrite -[M in \rank M]rows_before_all /new_rows.
suff H i : (i <= m)%N -> (\sum_(l < m | (l < i)%N) new_row D l <= \rank (rows_before M i))%N.
  have := H m (leqnn m); rewrite (eq_bigl xpredT) // => l; exact: ltn_ord.
elim: i => [|i IH] im; first by rewrite big1.
have io := IH (ltnW im); pose o := Ordinal im.
rewrite (bigD1 o) /= ?ltnSn // (eq_bigl (fun l : 'I_m => (l < i)%N)); last first.
  by move=> l; rewrite ltnS ltn_neqAle andbC.
case: (boolP (new_row D o)) => [nw | _]; last first.
  by rewrite add0n; apply: leq_trans io _; apply: mxrankS; apply: rows_before_mono.
rewrite add1n; apply: leq_ltn_trans io _; apply: rank_ltmx.
rewrite ltmxE rows_before_mono /=; apply: contra nw => le.
rewrite -(completes_row o h) -(@completes_above M D o); last by move=> l j _; apply: h.
exact: submxMr (submx_trans (row_above M o) le).
Qed.

(* some completion has a rank of at most the number of new rows *)
Theorem new_rows_reached D : exists2 M, completes M D & (\rank M <= new_rows D)%N.
Proof.
suff H i : (i <= m)%N -> exists2 M : 'M[F]_(m, n), (forall (l : 'I_m) j, (l < i)%N -> vis l j -> M l j = D l j) &
    (\rank M <= \sum_(l < m | (l < i)%N) new_row D l)%N.
  have [M h r] := H m (leqnn m); exists M => [l j | ]; first exact: h.
  by apply: leq_trans r _; rewrite (eq_bigl xpredT) // => l; exact: ltn_ord.
elim: i => [|i IH] im; first by exists 0; rewrite ?mxrank0.
have [M h r] := IH (ltnW im); pose o := Ordinal im.
rewrite (bigD1 o) /= ?ltnSn // (eq_bigl (fun l : 'I_m => (l < i)%N)); last first.
  by move=> l; rewrite ltnS ltn_neqAle andbC.
(* replace row i of M *)
pose put (v : 'rV_n) := M + delta_mx o 0 *m (v - row o M).
have putE (v : 'rV_n) l j : put v l j = if l == o then v 0 j else M l j.
  rewrite !mxE big_ord1 !mxE eqxx andbT; case: (l =P o) => [-> | _].
    by rewrite mul1r addrC subrK.
  by rewrite mul0r addr0.
have put_ok (v : 'rV_n) : (forall j, vis o j -> v 0 j = D o j) ->
    forall (l : 'I_m) j, (l < i.+1)%N -> vis l j -> put v l j = D l j.
  move=> hv l j li vlj; rewrite putE; case: (l =P o) vlj => [-> | /eqP lo] vlj; first exact: hv.
  by apply: h => //; rewrite ltn_neqAle -ltnS li andbT.
case: (boolP (new_row D o)) => [_ | /negPn /submxP [a e]].
  exists (put (row o D)); first by apply: put_ok => j _; rewrite mxE.
  rewrite addnC; apply: leq_trans (mxrank_add _ _) _; apply: leq_add => //.
  exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
exists (put (a *m rows_before M o)).
  apply: put_ok => j vj; have : (a *m (rows_before M o *m keep_visible o)) 0 j = (row o D *m keep_visible o) 0 j.
    by rewrite (@completes_above M D o) // e.
  by rewrite mulmxA !keep_visibleE vj !mulr1n mxE => ->; rewrite mxE.
rewrite add0n; apply: leq_trans _ r.
have -> : put (a *m rows_before M o) = (1%:M + delta_mx o 0 *m (a *m pid_mx o - delta_mx 0 o)) *m M.
  by rewrite /put rowE /rows_before mulmxDl mul1mx -!mulmxA mulmxBl !mulmxA.
exact: mxrankM_maxr.
Qed.

(* the least rank of a completion is the number of new rows *)
Corollary completion_rank D k :
  (exists2 M, completes M D & (\rank M <= k)%N) <-> (new_rows D <= k)%N.
Proof.
split=> [[M h r] | hk]; first exact: leq_trans (new_rows_le h) r.
by have [M h r] := new_rows_reached D; exists M => //; apply: leq_trans r hk.
Qed.

(* the same count as a sum of rank gains, rank D[<=i, K_i] - rank D[<i, K_i] *)
Lemma new_row_gain D i : (new_row D i : nat) =
  (\rank (rows_before D i.+1 *m keep_visible i) - \rank (rows_before D i *m keep_visible i))%N.
Proof.
have e : (rows_before D i.+1 *m keep_visible i :=: row i D *m keep_visible i + rows_before D i *m keep_visible i)%MS.
  apply/eqmxP/andP; split; last first.
    by rewrite addsmx_sub; apply/andP; split; apply: submxMr; [exact: row_above | exact: rows_before_mono].
  apply/row_subP => l; rewrite row_mul.
  have [li | li | li] := ltngtP l i.
  - apply: submx_trans (addsmxSr _ _); apply: submxMr.
    have -> : row l (rows_before D i.+1) = row l (rows_before D i).
      by apply/matrixP => a j; rewrite ![row _ _ _ _]mxE !rows_beforeE li ltnS ltnW.
    exact: row_sub.
  - have -> : row l (rows_before D i.+1) = 0.
      by apply/matrixP => a j; rewrite mxE rows_beforeE ltnS leqNgt li mxE.
    by rewrite mul0mx sub0mx.
  - apply: submx_trans (addsmxSl _ _); apply: submxMr.
    have -> : row l (rows_before D i.+1) = row i D; last exact: submx_refl.
    by rewrite (val_inj li); apply/matrixP => a j; rewrite mxE rows_beforeE ltnSn mxE.
rewrite e /new_row; case: (boolP (_ <= _)%MS) => [le | nle] /=.
  by rewrite (eqmx_sym (addsmx_idPr le)) subnn.
apply/eqP; rewrite eqn_leq; apply/andP; split.
  rewrite subn_gt0; apply: rank_ltmx; rewrite ltmxE addsmxSr /=.
  by apply: contra nle; apply: submx_trans (addsmxSl _ _).
rewrite leq_subLR addnC; apply: leq_trans (mxrank_adds_leqif _ _) _.
by rewrite leq_add2r; apply: rank_leq_row.
Qed.

Corollary new_rows_gains D : new_rows D =
  (\sum_(i < m) (\rank (rows_before D i.+1 *m keep_visible i) - \rank (rows_before D i *m keep_visible i)))%N.
Proof. by apply: eq_bigr => i _; rewrite new_row_gain. Qed.
End Completion.
