(* Measures on matrices. The sigma-algebra of m x n matrices is that of the boxes {M : M_ij in A_ij for all i, j},
   A_ij Borel. A measure is the product of measures l_ij on R, sigma-finite, if it gives each box the product of the
   l_ij(A_ij). Such a measure exists; and it is 0 on a set in which, whatever the other entries, the numbers for one
   entry have the measure 0 (Tonelli). *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.classical Require Import boolp classical_sets functions mathcomp_extra.
From mathcomp Require Import reals ereal signed topology normedtype numfun sequences measure.
From mathcomp Require Import lebesgue_measure lebesgue_integral.
From rankbound Require Import model_measure.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory numFieldTopology.Exports.
Local Open Scope ring_scope.
Local Open Scope classical_set_scope.
Local Open Scope ereal_scope.

Section Boxes.
Variables (R : realType) (m n : nat).
Local Notation entries := ('I_m * 'I_n)%type.
Implicit Types (A : entries -> set R) (p q : entries).

Definition box A : set 'M[R]_(m, n) := [set M | forall p, A p (M p.1 p.2)].
Local Notation boxes := (boxes R m n).
Local Notation matrices := (matrices R m n).

Lemma boxE (A : 'I_m -> 'I_n -> set R) : [set M : 'M[R]_(m, n) | forall i j, A i j (M i j)] = box (fun p => A p.1 p.2).
Proof. by rewrite predeqE => M; split=> [h p | h i j]; [apply: h | apply: (h (i, j))]. Qed.

Lemma boxesP B : boxes B <-> exists2 A, forall p, measurable (A p) & B = box A.
Proof.
split=> [[A mA ->] | [A mA ->]]; first by exists (fun p => A p.1 p.2) => //; apply: boxE.
exists (fun i j => A (i, j)) => //; rewrite (boxE (fun i j => A (i, j))).
by congr box; apply/funext => -[].
Qed.

Lemma measurable_box A : (forall p, measurable (A p)) -> measurable (box A : set matrices).
Proof. by move=> mA; apply: sub_sigma_algebra; apply/boxesP; exists A. Qed.

Lemma boxI A B : box A `&` box B = box (fun p => A p `&` B p).
Proof. by rewrite predeqE => M; split=> [[a b] p | ab]; [split; [apply: a | apply: b] | split=> p; have [] := ab p]. Qed.

(* the box with B in place of the side p of A *)
Definition side p (B : set R) A q := if q == p then B else A q.
Lemma measurable_side p B A q : measurable B -> measurable (A q) -> measurable (side p B A q).
Proof. by rewrite /side; case: ifP. Qed.

Lemma measurable_entry p : measurable_fun setT (fun M : matrices => M p.1 p.2 : R).
Proof.
move=> _ B mB; rewrite setTI (_ : _ @^-1` B = box (side p B (fun=> setT))).
  by apply: measurable_box => q; apply: measurable_side.
rewrite predeqE => M; split=> [MB q | h]; first by rewrite /side; case: eqP => [-> |].
by have := h p; rewrite /side eqxx.
Qed.

(* a matrix is measurable where its entries are *)
Lemma measurable_matrix d (T : measurableType d) (f : T -> matrices) :
  (forall p, measurable_fun setT (fun x => f x p.1 p.2 : R)) -> measurable_fun setT f.
Proof.
move=> mf; apply: (measurability (erefl _ : @measurable _ matrices = <<s boxes >>)) => _ [B /boxesP [A mA ->] <-].
rewrite setTI (_ : f @^-1` box A =
    \bigcap_(p in [set` index_enum [finType of entries]]) ((fun x => f x p.1 p.2 : R) @^-1` A p)).
  by rewrite bigcap_set; apply: bigsetI_measurable => p _; rewrite -[X in measurable X]setTI; apply: mf.
by rewrite predeqE => x; split=> [h p _ | h p]; [apply: h | apply: (h p); rewrite /= mem_index_enum].
Qed.

(* matrices with a new entry *)
Definition put p (My : matrices * R) : matrices := \matrix_(i, j) if (i, j) == p then My.2 else My.1 i j.

Lemma put_box p A : put p @^-1` box A = box (side p setT A) `*` A p.
Proof.
rewrite predeqE => -[M y]; split=> [h | [/= hM hy] [i j]]; last first.
  by rewrite /= mxE; have := hM (i, j); rewrite /side; case: eqP => [-> |].
split=> [q | ] /=; last by have := h p; rewrite /= mxE -surjective_pairing eqxx.
by have := h q; rewrite /side /= mxE -surjective_pairing; case: eqP.
Qed.

Lemma measurable_put p : measurable_fun setT (put p).
Proof.
apply: (measurability (erefl _ : @measurable _ matrices = <<s boxes >>)) => _ [B /boxesP [A mA ->] <-].
rewrite setTI put_box; apply: measurableM => //.
by apply: measurable_box => q; apply: measurable_side.
Qed.

Variable l : entries -> {measure set R -> \bar R}.
Hypothesis lfin : forall p, sigma_finite setT (l p).

Definition is_product (mu : set matrices -> \bar R) :=
  forall A, (forall p, measurable (A p)) -> mu (box A) = \big[mule/1]_(p : entries) l p (A p).

Lemma product_ge0 A (P : pred entries) : (forall p, measurable (A p)) -> 0 <= \big[mule/1]_(p | P p) l p (A p).
Proof. by move=> mA; elim/big_rec: _ => // p x _ x0; apply: mule_ge0. Qed.

(* boxes of finite measure that cover all *)
Lemma exhaustion : {g : nat -> entries -> set R |
  [/\ forall k p, measurable (g k p), forall k p, l p (g k p) < +oo & \bigcup_k box (g k) = setT]}.
Proof.
have F p : {f : nat -> set R | setT = \bigcup_i f i /\
    nondecreasing_seq f /\ forall i, measurable (f i) /\ l p (f i) < +oo}.
  by apply: cid; have [f ? [? ?]] := sigma_finiteP (@lfin p); exists f.
exists (fun k p => projT1 (F p) k); split=> [k p | k p |].
- by case: (F p) => f [_ [_ h]] /=; have [] := h k.
- by case: (F p) => f [_ [_ h]] /=; have [] := h k.
rewrite -subTset => M _.
have K p : {k | forall j, (k <= j)%N -> projT1 (F p) j (M p.1 p.2)}.
  case: (F p) => f [cover [nd h]] /=; apply: cid.
  have : [set: R] (M p.1 p.2) by []; rewrite cover => -[k _ fk]; exists k => j kj.
  by have /subsetPset := nd _ _ kj; apply.
exists (\max_p projT1 (K p))%N => // p /=; apply: (projT2 (K p)).
exact: (leq_bigmax p).
Qed.

Lemma box_lt_oo mu A : is_product mu -> (forall p, measurable (A p)) -> (forall p, l p (A p) < +oo) -> mu (box A) < +oo.
Proof.
move=> prod mA foo; rewrite prod //.
suff /andP [] : 0 <= \big[mule/1]_(p : entries) l p (A p) < +oo by [].
elim/big_rec: _ => [|p x _ /andP [x0 xoo]]; first by rewrite lee_fin ler01 ltry.
by rewrite mule_ge0 //= lte_mul_pinfty // ge0_fin_numE.
Qed.

(* the number in the place p drawn again *)
Lemma resample (mu : {measure set matrices -> \bar R}) p E : is_product mu -> measurable E ->
  (forall M, l p [set y | E (put p (M, y))] = 0) -> mu E = 0.
Proof.
move=> prod mE null.
have [l0 | /eqP l0] := pselect (l p setT = 0).
  apply/eqP; rewrite eq_le measure_ge0 andbT -[X in _ <= X](_ : mu setT = 0); first by apply: le_measure; rewrite ?inE.
  have <- : box (fun=> setT) = setT by rewrite predeqE.
  by rewrite prod // (bigD1 p) //= l0 mul0e.
have [F mF [F0 Foo]] : exists2 F, measurable F & 0 < l p F /\ l p F < +oo.
  have [f cover fin] := lfin p; apply: contrapT => no; case/negP: l0.
  have z k : l p (f k) = 0.
    have [mf foo] := fin k; apply: contrapT => /eqP nz; apply: no; exists (f k) => //; split=> //.
    by rewrite lt_neqAle eq_sym nz measure_ge0.
  rewrite eq_le measure_ge0 andbT.
  apply: (@le_trans _ _ (\sum_(k <oo) l p (f k))); last by rewrite eseries0 // => k _; apply: z.
  apply: measure_sigma_sub_additive => //; [by move=> k; have [] := fin k | by rewrite -cover].
pose mD : measurable (box (side p F (fun=> setT)) : set matrices) :=
  measurable_box (fun q => measurable_side p mF (measurableT : measurable ((fun=> setT) q))).
pose nu : {measure set matrices -> \bar R} := [the measure _ _ of mrestr mu mD].
have c0 : (0 <= fine (l p F))%R by apply: fine_ge0; apply: ltW.
pose m1 : {measure set matrices -> \bar R} := [the measure _ _ of mscale (NngNum c0) mu].
pose m2 : {measure set matrices -> \bar R} := [the measure _ _ of
  pushforward [the measure _ _ of product_measure1 nu (lfin p)] (@measurable_put p)].
have fineF : (fine (l p F))%:E = l p F by rewrite fineK // ge0_fin_numE.
have [g [mg goo gT]] := exhaustion.
have eq : m1 E = m2 E.
  apply: (@measure_unique _ R matrices boxes (fun k => box (g k)) erefl _ _ gT m1 m2) => //.
  - move=> _ _ /boxesP [A mA ->] /boxesP [B mB ->]; rewrite boxI; apply/boxesP; exists (fun p => A p `&` B p) => //.
    by move=> q; apply: measurableI.
  - by move=> k; apply/boxesP; exists (g k).
  - move=> _ /boxesP [A mA ->]; rewrite /m1 /m2 /= /mscale /pushforward /= put_box product_measure1E //; last first.
      by apply: measurable_box => q; apply: measurable_side.
    rewrite /nu /= /mrestr boxI fineF prod // prod; last first.
      by move=> q; apply: measurableI; apply: measurable_side.
    rewrite (bigD1 p) // [in RHS](bigD1 p) //= /side eqxx setTI muleA [LHS]muleAC.
    congr (_ * _ * _); apply: eq_bigr => q /negPf ->; by rewrite setIT.
  - move=> k; rewrite /m1 /= /mscale /= fineF lte_mul_pinfty //.
      by rewrite ge0_fin_numE.
    exact: box_lt_oo.
have : m2 E = 0.
  rewrite /m2 /= /pushforward /product_measure1 (eq_integral (cst 0)) ?integral0 // => M _ /=.
  rewrite -[RHS](null M); congr (l p _); rewrite predeqE => y; rewrite /xsection /=.
  by split=> [/set_mem | ?]; [| rewrite inE].
rewrite -eq /m1 /= /mscale /= fineF => /eqP; rewrite mule_eq0 => /orP [/eqP z | /eqP //].
by move: F0; rewrite z ltxx.
Qed.
End Boxes.

Section Exists.
Variables (R : realType) (m n : nat).
Local Notation entries := ('I_m * 'I_n)%type.
Local Notation matrices := (matrices R m n).

(* a new number in the place p, where the old one had a probability *)
Lemma product_put (l : entries -> {measure set R -> \bar R}) (mu : {measure set matrices -> \bar R}) p
    (lp : {measure set R -> \bar R}) :
  is_product l mu -> l p setT = 1 -> sigma_finite setT lp ->
  exists mu' : {measure set matrices -> \bar R}, is_product (fun q => if q == p then lp else l q) mu'.
Proof.
move=> prod l1 fin.
exists [the measure _ _ of pushforward [the measure _ _ of product_measure1 mu fin] (@measurable_put R m n p)] => A mA.
have ms q : measurable (side p setT A q) by apply: measurable_side.
rewrite /= /pushforward put_box product_measure1E //; last exact: measurable_box.
rewrite prod // (bigD1 p) // [in RHS](bigD1 p) //= /side !eqxx l1 mul1e muleC; congr (_ * _).
by apply: eq_bigr => q /negPf ->.
Qed.

(* sigma-finite measures have a product *)
Lemma product_exists (l : entries -> {measure set R -> \bar R}) : (forall p, sigma_finite setT (l p)) ->
  exists mu : {measure set matrices -> \bar R}, is_product l mu.
Proof.
move=> fin; pose zero : {measure set R -> \bar R} := [the measure _ _ of dirac (0 : R)%R].
suff H s : uniq s -> exists mu : {measure set matrices -> \bar R}, is_product (fun p => if p \in s then l p else zero) mu.
  have [mu prod] := H (index_enum [finType of entries]) (index_enum_uniq _); exists mu => A mA.
  by rewrite prod //; apply: eq_bigr => p _; rewrite mem_index_enum.
elim: s => [_ | p s IH /andP [ps us]].
  exists [the measure _ _ of dirac ((0 : 'M[R]_(m, n))%R : matrices)] => A mA; rewrite /= /dirac.
  have [all | /existsNP [p no]] := pselect (forall p, A p 0%R).
    rewrite indicE mem_set => [|p]; last by rewrite /= mxE.
    by rewrite big1 // => p _; rewrite /= /dirac indicE mem_set.
  rewrite indicE memNset => [|/(_ p)]; last by rewrite mxE.
  by rewrite (bigD1 p) //= /dirac indicE memNset // mul0e.
have [mu prod] := IH us.
have [|mu' prod'] := product_put (p := p) prod _ (fin p).
  by rewrite /= (negPf ps) /zero /= /dirac indicE mem_set.
exists mu' => A mA; rewrite prod' //; apply: eq_bigr => q _; rewrite inE.
by case: (q =P p) => [-> |].
Qed.
End Exists.

(* Polynomials of measurable functions are measurable. *)
Section Polynomials.
Context d (T : measurableType d) (R : realType).
Local Open Scope ring_scope.

Lemma measurable_sum (I : Type) (s : seq I) (f : I -> T -> R) :
  (forall i, measurable_fun setT (f i)) -> measurable_fun setT (fun x => \sum_(i <- s) f i x).
Proof.
move=> mf; elim: s => [|i s IH]; first by under eq_fun do rewrite big_nil; apply: measurable_fun_cst.
by under eq_fun do rewrite big_cons; apply: measurable_funD.
Qed.

Lemma measurable_prod (I : Type) (s : seq I) (f : I -> T -> R) :
  (forall i, measurable_fun setT (f i)) -> measurable_fun setT (fun x => \prod_(i <- s) f i x).
Proof.
move=> mf; elim: s => [|i s IH]; first by under eq_fun do rewrite big_nil; apply: measurable_fun_cst.
by under eq_fun do rewrite big_cons; apply: measurable_funM.
Qed.

Lemma measurable_det n (f : T -> 'M[R]_n) :
  (forall i j, measurable_fun setT (fun x => f x i j)) -> measurable_fun setT (fun x => \det (f x)).
Proof.
move=> mf; apply: measurable_sum => s; apply: measurable_funrM; exact: measurable_prod.
Qed.
End Polynomials.
