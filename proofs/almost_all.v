(* "Almost every", algebraically: what holds for A + t B for all t but the roots of a polynomial
   that is not 0 and whose degree is stated. Over a field with fewer elements than that it may say
   nothing; over an infinite one it speaks of all but finitely many t. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import polyrcf.
From rankbound Require Import model linalg.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Generic.
Variable F : fieldType.

(* polynomials of degree < p with p roots *)
Lemma vandermonde p n (x : 'I_n -> F) (K : {set 'I_n}) (u : 'rV[F]_p) : injective x ->
  (p <= #|K|)%N -> (forall j, j \in K -> \sum_i u 0 i * x j ^+ i = 0) -> u = 0.
Proof.
move=> xI pK h; apply: (can_inj (@rVpolyK _ _)); rewrite linear0.
apply/eqP; apply: contraTT pK => nz; rewrite -ltnNge.
rewrite -(size_image x); apply: leq_trans (max_poly_roots nz _ _) (size_poly _ _).
- apply/allP => _ /imageP [j jK ->]; rewrite /root /rVpoly horner_poly.
  rewrite -[X in _ == X](h j jK); apply/eqP/eq_bigr => i _.
  by rewrite insubT // => hi; congr (u _ _ * _); apply: val_inj.
- by rewrite map_inj_uniq ?enum_uniq.
Qed.

(* the rank of A + t B is at least that of B, but for the roots t of a polynomial *)
Lemma generic_rank m n (A B : 'M[F]_(m, n)) :
  exists p : {poly F}, [/\ p != 0, (size p <= (\rank B).+1)%N &
    forall t, ~~ root p t -> (\rank B <= \rank (A + t *: B)%R)%N].
Proof.
have [G [H eB]] := rank_section B; pose M := G *m A *m H.
exists (char_poly (- M)); split; first exact: monic_neq0 (char_poly_monic _).
  by rewrite size_char_poly.
move=> t; rewrite -eigenvalue_root_char /eigenvalue negbK kermx_eq0 -opprD => free.
have e : G *m (A + t *: B) *m H = M + t%:M.
  by rewrite mulmxDr mulmxDl -scalemxAr -scalemxAl eB scalemx1.
have : (\rank B <= \rank (M + t%:M)%R)%N by move: free; rewrite /row_free eqmx_opp => /eqP ->.
by rewrite -e => h; apply: leq_trans h (leq_trans (mxrankM_maxl _ _) (mxrankM_maxr _ _)).
Qed.
End Generic.

(* Over a real closed field the roots of a polynomial are a finite sequence. *)
Lemma almost_all_nonroots (R : rcfType) (p : {poly R}) : p != 0 -> almost_all (fun t => ~~ root p t).
Proof. by move=> p0; exists (rootsR p) => t; rewrite -(roots_on_rootsR p0). Qed.

(* What holds for almost all t holds for some t between 0 and e. *)
Lemma almost_all_small (R : rcfType) (Q : R -> Prop) e : almost_all Q -> 0 < e ->
  exists2 t, Q t & 0 < t <= e.
Proof.
move=> [s h] e0; pose rs := [seq e / i.+1%:R | i <- iota 0 (size s).+1].
have [/allP a | /allPn [t /mapP [i _ ->] r]] := boolP (all (mem s) rs); last first.
  exists (e / i.+1%:R); first exact: h.
  by rewrite divr_gt0 ?ltr0n //= ler_pdivr_mulr ?ltr0n // ler_pmulr // ler1n.
have u : uniq rs.
  rewrite map_inj_uniq ?iota_uniq // => i j /(mulfI (lt0r_neq0 e0))/invr_inj/eqP.
  by rewrite eqr_nat => /eqP [].
by have := uniq_leq_size u a; rewrite size_map size_iota ltnn.
Qed.
