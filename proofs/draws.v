(* What is rare: pivots. The t-th pivot of a square matrix fails where the leading minor of size t is not 0 and
   that of size t + 1 is; such matrices that agree but for the entry (t, t) are equal. So of the matrices with
   entries in a finite set S of numbers at most a share of T / |S| has a singular block of size T. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model linalg.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Pivots.
Variables (F : fieldType) (m n T : nat) (f : 'I_T -> 'I_m) (g : 'I_T -> 'I_n) (o : 'I_m).
Hypotheses (fI : injective f) (gI : injective g) (fo : forall t, f t != o).
Implicit Types L : 'M[F]_(m, n).

(* the block of L in the rows f and columns g, row o subtracted *)
Definition block L : 'M[F]_T := \matrix_(i, j) (L (f i) (g j) - L o (g j)).
(* its first t rows, above rows of the identity: the determinant is the leading minor of size t *)
Definition leading t L : 'M[F]_T := \matrix_(i, j) if (i < t)%N then block L i j else (i == j)%:R.

Lemma leading0 L : \det (leading 0 L) = 1.
Proof. by rewrite -[RHS](@det1 F T); congr (\det _); apply/matrixP => i j; rewrite !mxE. Qed.
Lemma leading_all L : leading T L = block L.
Proof. by apply/matrixP => i j; rewrite mxE ltn_ord. Qed.

Lemma eq_cofactor (A B : 'M[F]_T) i j : (forall a b, a != i -> A a b = B a b) -> cofactor A i j = cofactor B i j.
Proof.
move=> h; rewrite /cofactor; congr (_ * \det _); apply/matrixP => a b; rewrite !mxE.
by apply: h; rewrite eq_sym neq_lift.
Qed.

Lemma eq_cofactor_col (A B : 'M[F]_T) i j : (forall a b, b != j -> A a b = B a b) -> cofactor A i j = cofactor B i j.
Proof.
move=> h; rewrite /cofactor; congr (_ * \det _); apply/matrixP => a b; rewrite !mxE.
by apply: h; rewrite eq_sym neq_lift.
Qed.

Lemma cofactor_leading (t : 'I_T) L : cofactor (leading t.+1 L) t t = \det (leading t L).
Proof.
rewrite (expand_det_row _ t) (bigD1 t) //= big1 ?addr0 => [|b bt].
  rewrite [leading _ _ _ _]mxE ltnn eqxx mul1r; apply: eq_cofactor => a c at'.
  have ne : (a == t :> nat) = false by apply: negPf.
  by rewrite [LHS]mxE [RHS]mxE ltnS [(a <= t)%N]leq_eqVlt ne.
by rewrite !mxE ltnn eq_sym (negPf bt) mul0r.
Qed.

Definition fails t L := (\det (leading t L) != 0) && (\det (leading t.+1 L) == 0).

(* two matrices at which pivot t fails and that agree but for the entry (f t, g t) *)
Lemma fails_once (t : 'I_T) L L' : fails t L -> fails t L' ->
  (forall i j, (i, j) != (f t, g t) -> L i j = L' i j) -> L = L'.
Proof.
move=> /andP [nz /eqP z] /andP [_ /eqP z'] same; apply/matrixP => i j.
have [[-> ->] | ] := (i, j) =P (f t, g t); last by move/eqP/same.
have blockE a b : (a, b) != (t, t) -> block L a b = block L' a b.
  move=> ab; rewrite !mxE !same //; apply: contraNneq ab; last by move=> [/fI -> /gI ->].
  by move=> [e _]; have := fo t; rewrite e eqxx.
have cofE b : cofactor (leading t.+1 L') t b = cofactor (leading t.+1 L) t b.
  by apply: eq_cofactor => a c at'; rewrite [LHS]mxE [RHS]mxE blockE // xpair_eqE (negPf at').
have c0 : cofactor (leading t.+1 L) t t != 0 by rewrite cofactor_leading.
have : \sum_b (block L t b - block L' t b) * cofactor (leading t.+1 L) t b = 0.
  under eq_bigr do rewrite mulrBl; rewrite sumrB; apply/eqP; rewrite subr_eq0; apply/eqP.
  transitivity (\det (leading t.+1 L)).
    by rewrite (expand_det_row _ t); apply: eq_bigr => b _; rewrite [in RHS]mxE ltnSn.
  rewrite z -[LHS]z' (expand_det_row _ t); apply: eq_bigr => b _.
  by rewrite [leading _ _ t b]mxE ltnSn cofE.
rewrite (bigD1 t) //= big1 ?addr0 => [/eqP|b bt]; last by rewrite blockE ?subrr ?mul0r // xpair_eqE (negPf bt) andbF.
rewrite mulf_eq0 (negPf c0) orbF subr_eq0 => /eqP; rewrite !mxE (same o) => [/addIr // |].
by rewrite xpair_eqE eq_sym (negPf (fo t)).
Qed.

(* a singular block: some pivot fails *)
Lemma some_pivot_fails L : \det (block L) = 0 -> exists t : 'I_T, fails t L.
Proof.
rewrite -leading_all => z; suff : exists2 t, (t < T)%N & fails t L by case=> t tT; exists (Ordinal tT).
suff H q : (q <= T)%N -> \det (leading q L) = 0 -> exists2 t, (t < T)%N & fails t L by apply: H z.
elim: q => [|q IH] qT; first by rewrite leading0 => /eqP; rewrite oner_eq0.
move=> z0; have [/IH h | nz] := eqVneq (\det (leading q L)) 0; first exact: h (ltnW qT).
by exists q; rewrite // /fails nz z0 eqxx.
Qed.
End Pivots.

Section Count.
Variables (S : finType) (m n : nat).

(* a set of matrices in which none is told from another by the entry (i0, j0) alone *)
Lemma thin_set (B : {set 'M[S]_(m, n)}) i0 j0 :
  (forall M M', M \in B -> M' \in B -> (forall i j, (i, j) != (i0, j0) -> M i j = M' i j) -> M = M') ->
  (#|B| * #|S| <= #|{: 'M[S]_(m, n)}|)%N.
Proof.
move=> thin; pose put (p : 'M[S]_(m, n) * S) : 'M[S]_(m, n) :=
  \matrix_(i, j) if (i, j) == (i0, j0) then p.2 else p.1 i j.
rewrite -cardsT -cardsX -(@card_in_imset _ _ put); first exact: max_card.
move=> [M s] [M' s']; rewrite !inE !andbT /= => MB MB' /matrixP e.
have -> : s = s' by have := e i0 j0; rewrite !mxE eqxx.
by congr (_, _); apply: thin => // i j /negPf ij; have := e i j; rewrite !mxE ij.
Qed.

Variables (F : fieldType) (v : S -> F) (T : nat) (f : 'I_T -> 'I_m) (g : 'I_T -> 'I_n) (o : 'I_m).
Hypotheses (vI : injective v) (fI : injective f) (gI : injective g) (fo : forall t, f t != o).

(* at most a share T / |S| of the matrices with entries in S has a singular block *)
Theorem singular_draws : (#|[set M : 'M[S]_(m, n) | \det (block f g o (map_mx v M)) == 0%R]| * #|S|
  <= T * #|{: 'M[S]_(m, n)}|)%N.
Proof.
pose B (t : 'I_T) := [set M : 'M[S]_(m, n) | fails f g o t (map_mx v M)].
apply: (@leq_trans ((\sum_t #|B t|) * #|S|)%N).
  rewrite leq_mul2r; apply/orP; right.
  apply: leq_trans (_ : #|\bigcup_t B t| <= _)%N; last first.
    elim/big_rec2: _ => [|t k A _ le]; first by rewrite cards0.
    by apply: leq_trans (leq_card_setU _ _) _; rewrite leq_add2l.
  apply/subset_leq_card/subsetP => M; rewrite inE => /eqP /(@some_pivot_fails F m n T f g o) [t ht].
  by apply/bigcupP; exists t; rewrite ?inE.
rewrite big_distrl /= -[X in (_ <= X * _)%N]card_ord -sum_nat_const; apply: leq_sum => t _.
apply: (@thin_set (B t) (f t) (g t)) => M M'; rewrite !inE => hM hM' same.
have e : map_mx v M = map_mx v M'.
  by apply: (fails_once fI gI fo hM hM') => i j ij; rewrite !mxE same.
by apply/matrixP => i j; apply: vI; have /matrixP/(_ i j) := e; rewrite !mxE.
Qed.
End Count.
