(* Almost every matrix. Where the entries are drawn from a product of measures without atoms, sigma-finite, a block of
   size T with one row subtracted is almost everywhere not singular: of the numbers for the entry of a pivot at most one
   fails (draws.v), and one number has the measure 0. *)
From mathcomp Require Import all_ssreflect fingroup perm all_algebra.
From mathcomp.classical Require Import boolp classical_sets functions mathcomp_extra.
From mathcomp Require Import reals ereal signed topology normedtype sequences numfun measure lebesgue_measure exp.
From rankbound Require Import model softmax_gauge theorem_a draws draws_nested model_measure matrix_measure.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory numFieldTopology.Exports.
Local Open Scope ring_scope.
Local Open Scope classical_set_scope.
Local Open Scope ereal_scope.

(* mu is the product of measures l_ij without atoms, sigma-finite, in the entries of L *)
Definition atomless_product (R : realType) d (T : measurableType d) m n (mu : set T -> \bar R) (L : T -> 'M[R]_(m, n)) :=
  exists l : 'I_m * 'I_n -> {measure set R -> \bar R},
  [/\ forall p, sigma_finite setT (l p), forall p x, l p [set x] = 0,
      forall p, measurable_fun setT (fun w => L w p.1 p.2) &
      forall A, (forall p, measurable (A p)) ->
        mu [set w | forall p, A p (L w p.1 p.2)] = \big[mule/1]_p l p (A p)].

Section Negligible.
Variables (R : realType) (d : _) (W : measurableType d) (mu : {measure set W -> \bar R}).
Implicit Types A B : set W.

Lemma negligible_subset A B : mu.-negligible B -> A `<=` B -> mu.-negligible A.
Proof. by move=> [N [mN N0 BN]] AB; exists N; split=> // w /AB/BN. Qed.

Lemma negligible_setU A B : mu.-negligible A -> mu.-negligible B -> mu.-negligible (A `|` B).
Proof.
move=> [N [mN N0 AN]] [M [mM M0 BM]]; exists (N `|` M); split; [exact: measurableU | exact: null_set_setU |].
by move=> w [/AN | /BM]; [left | right].
Qed.

Lemma negligible_exists T (A : 'I_T -> set W) : (forall t, mu.-negligible (A t)) -> mu.-negligible [set w | exists t, A t w].
Proof.
move=> nA; apply: (@negligible_subset _ (\big[setU/set0]_t A t)) => [|w [t At]]; last first.
  by rewrite -bigcup_set; exists t; rewrite //= mem_index_enum.
by elim/big_rec: _ => [|t B _ nB]; [apply: negligible_set0 | apply: negligible_setU].
Qed.

Lemma ae_weaken (P Q : W -> Prop) : {ae mu, forall w, P w} -> (forall w, P w -> Q w) -> {ae mu, forall w, Q w}.
Proof. by move=> aeP PQ; apply: negligible_subset aeP _ => w /= nQ /PQ. Qed.
End Negligible.

(* without atoms, finite sets have the measure 0 *)
Lemma finite_null (R : realType) (l : {measure set R -> \bar R}) (s : seq R) : (forall x, l [set x] = 0) ->
  measurable [set` s] /\ l [set` s] = 0.
Proof.
move=> l0; elim: s => [|x s [ms IH]]; first by rewrite set_nil measure0.
have -> : [set` x :: s] = [set x] `|` [set` s].
  rewrite predeqE => y; rewrite /= inE; split=> [/orP [/eqP -> | ?] | [-> | ->]]; rewrite ?eqxx ?orbT //.
    by left.
  by right.
split; first exact: measurableU.
exact: null_set_setU.
Qed.

Section Blocks.
Variables (R : realType) (d : _) (W : measurableType d) (m n : nat).
Variables (mu : {measure set W -> \bar R}) (L : W -> 'M[R]_(m, n)).
Hypothesis prod : atomless_product mu L.

(* a measurable set of matrices that, whatever the other entries, leaves finitely many numbers for the entry p *)
Lemma sparse_null p (E : set (matrices R m n)) : measurable E ->
  (forall M, exists s : seq R, forall y, E (put p (M, y)) -> y \in s) -> mu.-negligible [set w | E (L w)].
Proof.
have [l [fin l0 mL prodL]] := prod => mE sparse; have mf := measurable_matrix mL.
exists (L @^-1` E); split=> //; first by rewrite -[X in measurable X]setTI; apply: mf.
pose nu : {measure set (matrices R m n) -> \bar R} := [the measure _ _ of pushforward mu mf].
apply: (@resample R m n l fin nu p) => // M; have [s sub] := sparse M.
have -> : [set y | E (put p (M, y))] = [set` [seq y <- s | `[< E (put p (M, y)) >]]].
  rewrite predeqE => y; split=> /= [Ey | ]; last by rewrite mem_filter => /andP [/asboolP].
  by rewrite mem_filter sub // andbT; apply/asboolP.
by have [] := finite_null [seq y <- s | `[< E (put p (M, y)) >]] (l0 p).
Qed.

(* ... at most one number *)
Lemma thin_null p (E : set (matrices R m n)) : measurable E ->
  (forall M M', E M -> E M' -> (forall i j, (i, j) != p -> M i j = M' i j) -> M = M') ->
  mu.-negligible [set w | E (L w)].
Proof.
move=> mE thin; apply: (@sparse_null p) => // M.
have [[y Ey] | no] := pselect (exists y, E (put p (M, y))); last by exists [::] => y Ey; case: no; exists y.
exists [:: y] => z Ez; rewrite inE; apply/eqP.
suff /matrixP/(_ p.1 p.2) : put p (M, z) = put p (M, y) by rewrite !mxE (_ : (p.1, p.2) = p) ?eqxx //; case: (p).
by apply: thin => // i j /negPf ij; rewrite !mxE ij.
Qed.

Variables (T : nat) (f : 'I_T -> 'I_m) (g : 'I_T -> 'I_n) (o : 'I_m).
Hypotheses (fI : injective f) (gI : injective g) (fo : forall t, f t != o).

Lemma measurable_leading t : measurable_fun setT (fun M : matrices R m n => \det (leading f g o t M) : R).
Proof.
apply: measurable_det => i j; under eq_fun do rewrite mxE; case: (i < t)%N; last exact: measurable_fun_cst.
by under eq_fun do rewrite mxE; apply: measurable_funB; apply: measurable_entry (_, _).
Qed.

Lemma singular_null : mu.-negligible [set w | \det (block f g o (L w)) = 0%R].
Proof.
pose E t : set (matrices R m n) := [set M | fails f g o t M].
have nullE (t : 'I_T) : mu.-negligible [set w | E t (L w)].
  apply: (@thin_null (f t, g t)) => [|M M' EM EM' same]; last exact: (fails_once fI gI fo EM EM' same).
  rewrite (_ : E t = ~` ((fun M : matrices R m n => \det (leading f g o t M) : R) @^-1` [set 0%R]) `&`
      ((fun M : matrices R m n => \det (leading f g o t.+1 M) : R) @^-1` [set 0%R])).
    apply: measurableI; first apply: measurableC; rewrite -[X in measurable X]setTI; exact: measurable_leading.
  by rewrite predeqE => M; rewrite /E /fails /=; split=> [/andP [/eqP ? /eqP] | [/eqP ? /eqP ?]] //; apply/andP.
apply: negligible_subset (negligible_exists nullE) _ => w; exact: some_pivot_fails.
Qed.
End Blocks.

Section Products.
Variables (R : realType) (d : _) (W : measurableType d) (m n : nat) (prob : {measure set W -> \bar R}).
Implicit Types Y : W -> 'M[R]_(m, n).

(* independent random variables without atoms are drawn from a product of measures, their laws *)
Lemma independent_product Y : independent_without_atoms prob Y -> atomless_product prob Y.
Proof.
move=> [p1 mY ind null]; have mY' p : measurable_fun setT (fun w => Y w p.1 p.2) by apply: mY.
exists (fun p => [the measure _ _ of pushforward prob (mY' p)]); split=> [p | p x | // | A mA].
- exists (fun=> setT); first by rewrite predeqE => x; split=> // _; exists 0%N.
  by move=> _; split=> //; rewrite /= /pushforward preimage_setT p1 ltry.
- exact: null.
rewrite (eq_bigr (fun p => prob [set w | A (p.1, p.2) (Y w p.1 p.2)])) => [|[i j] _ //].
rewrite -(pair_bigA _ (fun i j => prob [set w | A (i, j) (Y w i j)])) /= -(ind (fun i j => A (i, j))) //; congr (prob _).
by rewrite predeqE => w; split=> [h i j | h [i j]]; [apply: (h (i, j)) | apply: h].
Qed.

(* a measurable function of each entry, one-to-one on the values of the entries *)
Lemma independent_map Y (h : R -> R) : measurable_fun setT h ->
  (forall x, exists y, forall w i j, h (Y w i j) = x -> Y w i j = y) ->
  independent_without_atoms prob Y -> independent_without_atoms prob (fun w => map_mx h (Y w)).
Proof.
move=> mh one [p1 mY ind null]; have E i j (A : set R) : [set w | A (map_mx h (Y w) i j)] = [set w | (h @^-1` A) (Y w i j)].
  by rewrite predeqE => w; rewrite /= mxE.
have mE A : measurable A -> measurable (h @^-1` A) by move=> mA; rewrite -[X in measurable X]setTI; apply: mh.
split=> // [i j | A mA | i j x].
- by under eq_fun do rewrite mxE; apply: measurable_fun_comp mh _; apply: mY.
- rewrite (_ : [set w | _] = [set w | forall i j, (h @^-1` A i j) (Y w i j)]).
    rewrite (ind (fun i j => h @^-1` A i j)) => [|i j]; last exact: mE.
    by apply: eq_bigr => i _; apply: eq_bigr => j _; rewrite E.
  by rewrite predeqE => w; split=> hw i j; have := hw i j; rewrite /= mxE.
have [y hy] := one x; apply/eqP; rewrite eq_le measure_ge0 andbT -(null i j y).
rewrite (E i j [set x]); apply: le_measure; rewrite ?inE.
- by have := mY i j measurableT _ (mE _ (measurable_set1 x)); rewrite setTI.
- by have := mY i j measurableT _ (measurable_set1 y); rewrite setTI.
by move=> w /=; apply: hy.
Qed.

Lemma measurable_ln : measurable_fun setT (@exp.ln R).
Proof.
move=> _ A mA; pose D : set R := [set` `]0%R, +oo[%R].
have mD : measurable D by apply: measurable_itv.
have mln : measurable_fun D (@exp.ln R).
  apply: open_continuous_measurable_fun; first exact: interval_open.
  by move=> x; rewrite inE /D /= in_itv /= andbT => /exp.continuous_ln.
have D0 x : ~ D x -> exp.ln x = 0%R by rewrite /D /= in_itv /= andbT => /negP; rewrite -leNgt => /exp.ln0.
rewrite setTI; have [A0 | A0] := pselect (A 0%R).
  rewrite (_ : _ @^-1` A = (D `&` (@exp.ln R) @^-1` A) `|` ~` D).
    by apply: measurableU; [apply: mln | apply: measurableC].
  rewrite predeqE => x; split=> [Ax | [[] // | /D0 e]]; last by rewrite /preimage /= e.
  by have [Dx | nDx] := pselect (D x); [left | right].
rewrite (_ : _ @^-1` A = D `&` (@exp.ln R) @^-1` A); first exact: mln.
rewrite predeqE => x; split=> [Ax | [] //]; split=> //; apply: contrapT => /D0 e.
by apply: A0; rewrite -e.
Qed.

(* the logarithms of independent positive numbers are independent *)
Lemma independent_ln Y : (forall w i j, 0 < Y w i j)%R -> independent_without_atoms prob Y ->
  independent_without_atoms prob (fun w => map_mx (@exp.ln R) (Y w)).
Proof.
move=> Y0; apply: independent_map measurable_ln _ => x; exists (sequences.expR x) => w i j <-.
by rewrite exp.lnK // posrE.
Qed.
End Products.

Section Lebesgue.
Variables (R : realType) (m n : nat).

(* Lebesgue measure on R *)
Lemma measurable_id : measurable_fun setT (id : measurableTypeR R -> R).
Proof. by move=> _ A mA; rewrite setTI. Qed.
Definition lebesgue : {measure set R -> \bar R} :=
  [the measure _ _ of pushforward [the measure _ _ of @lebesgue_measure R] measurable_id].

Lemma lebesgue_finite : sigma_finite setT lebesgue.
Proof.
have [F cover fin] := @hlength_sigma_finite R; exists F => // k; have [mF Foo] := fin k.
have mF' : @measurable _ (measurableTypeR R) (F k) by apply: sub_sigma_algebra; exact: mF.
split=> //; rewrite /= /pushforward /= /lebesgue_measure /Hahn_ext measurable_mu_extE //.
exact: hlength_sigma_sub_additive.
Qed.

Lemma lebesgue_is_product (mu : set (matrices R m n) -> \bar R) :
  lebesgue_on_matrices mu <-> is_product (fun=> lebesgue) mu.
Proof.
split=> h A mA.
  rewrite (_ : box A = [set M : 'M[R]_(m, n) | forall i j, A (i, j) (M i j)]).
    by rewrite (h (fun i j => A (i, j))) // pair_bigA; apply: eq_bigr => -[i j].
  by rewrite predeqE => M; split=> [a i j | a [i j]]; [apply: (a (i, j)) | apply: a].
by rewrite boxE (h (fun p => A p.1 p.2)) // pair_bigA.
Qed.

Lemma lebesgue_exists : exists mu : {measure set (matrices R m n) -> \bar R}, lebesgue_on_matrices mu.
Proof.
have [mu h] := product_exists (fun _ : 'I_m * 'I_n => lebesgue_finite); exists mu.
exact/lebesgue_is_product.
Qed.

Lemma lebesgue_product (mu : {measure set (matrices R m n) -> \bar R}) :
  lebesgue_on_matrices mu -> atomless_product mu (id : matrices R m n -> 'M[R]_(m, n)).
Proof.
move=> /lebesgue_is_product h; exists (fun=> lebesgue); split=> [p | p x | p | A mA].
- exact: lebesgue_finite.
- exact: lebesgue_measure_set1.
- exact: measurable_entry.
by rewrite -h.
Qed.
End Lebesgue.

Section Contexts.
Variables (R : realType) (d : _) (W : measurableType d) (mu : {measure set W -> \bar R}).
Local Notation logits n := (W -> 'M[realExp R]_n).

(* log-rank n on n + 1 tokens: no smaller head has the context *)
Lemma full_needs n (P : 'M[realExp R]_n.+1) : stochastic P -> logrank P = n ->
  forall dim k s (X : 'M_(dim, n.+1)), reachable k s X P -> (n <= k)%N.
Proof. by move=> sP e dim k s X [Wk [Wq h]]; rewrite -[X in (X <= _)%N]e; apply: logrank_necessary h. Qed.

(* no mask, n + 1 tokens: C L has the rank n almost everywhere *)
Theorem product_contexts n (L : logits n.+1) : atomless_product mu (L : W -> 'M[R]_n.+1) ->
  {ae mu, forall w, \rank (centre (realExp R) n.+1 *m L w) = n /\
    forall dim k s (X : 'M_(dim, n.+1)), reachable k s X (softmax (L w)) -> (n <= k)%N}.
Proof.
have f0 (t : 'I_n) : lift ord0 t != ord0 by [].
have n0 : (n.+1%:R != 0 :> R)%R by rewrite pnatr_eq0.
move=> prod; apply: (negligible_subset (singular_null prod (@lift_inj _ ord0) (@lift_inj _ ord0) f0)) => w /= no.
apply/eqP; apply: contra_notT no => nz; have e := full_block n0 nz.
split=> //; apply: full_needs; first exact: softmax_stochastic.
by rewrite logrank_softmax.
Qed.

(* positive weights, columns normalised *)
Theorem independent_contexts n (Y : W -> 'M[R]_n.+1) : (forall w i j, (0 < Y w i j)%R) ->
  independent_without_atoms mu Y ->
  {ae mu, forall w, let P : 'M[realExp R]_n.+1 := (\matrix_(i, j) (Y w i j / \sum_l Y w l j))%R in
    logrank P = n /\ forall dim k s (X : 'M_(dim, n.+1)), reachable k s X P -> (n <= k)%N}.
Proof.
move=> Y0 ind; have := product_contexts (independent_product (independent_ln Y0 ind)).
move/ae_weaken; apply=> w; rewrite -(@logrank_softmax (realExp R)) //.
suff -> : softmax (map_mx (@exp.ln R) (Y w) : 'M[realExp R]_n.+1) = (\matrix_(i, j) (Y w i j / \sum_l Y w l j))%R by [].
apply/matrixP => i j; rewrite !mxE /= exp.lnK ?posrE //; congr (_ / _)%R.
by apply: eq_bigr => l _; rewrite mxE exp.lnK ?posrE.
Qed.

(* a nested mask, keys in the order pi *)
Theorem product_nested n (vis : 'I_n.+1 -> 'I_n.+1 -> bool) (pi : 'S_n.+1) (L : logits n.+1) :
  nested (fun i => vis (pi i)) -> (forall j, vis (pi ord0) j) -> atomless_product mu (L : W -> 'M[R]_n.+1) ->
  let T := (\max_(i < n.+1 | (i <= #|[set j | vis (pi i) j]%SET|)%N) i)%N in
  {ae mu, forall w, forall d k (s : realExp R) (X : 'M_(d, n.+1)), s != 0%R -> \rank X = n.+1 ->
    mreachable vis k s X (msoftmax vis (L w)) <-> (T <= k)%N}.
Proof.
move=> nest seen prod T; have [f [g [fI gI f0 h]]] := nested_block (realExp R) nest seen.
apply: (negligible_subset (singular_null prod fI gI f0)) => w /= no.
by apply/eqP; apply: contra_notT no => nz d' k s X s0 rX; apply: h.
Qed.

(* tokens of rank below n >= 2: almost everywhere no head of any size has the context *)
Theorem product_deficient dim n (X : 'M[realExp R]_(dim, n)) (L : logits n) :
  (1 < n)%N -> (\rank X < n)%N -> atomless_product mu (L : W -> 'M[R]_n) ->
  {ae mu, forall w, forall (s : realExp R) k, ~ reachable k s X (softmax (L w))}.
Proof.
move=> n1 rX prod; have [u [i [l [j [h once]]]]] := deficient_once n1 rX.
pose E : set (matrices R n n) := [set M | (M *m u) i 0%R = (M *m u) l 0%R :> R].
apply: (negligible_subset (thin_null (p := (i, j)) (E := E) prod _ once)) => [|w /= no].
  have mE a : measurable_fun setT (fun M : matrices R n n => (M *m u) a 0%R : R).
    under eq_fun do rewrite mxE; apply: measurable_sum => b; apply: measurable_funM; last exact: measurable_fun_cst.
    exact: (@measurable_entry R n n (a, b)).
  rewrite (_ : E = (fun M : matrices R n n => (M *m u) i 0%R - (M *m u) l 0%R : R)%R @^-1` [set 0%R]).
    by rewrite -[X in measurable X]setTI; apply: measurable_funB.
  by rewrite predeqE => M; split=> [e | /eqP]; [rewrite /preimage /= e subrr | rewrite subr_eq0 => /eqP].
by apply: contrapT => ne; apply: no => s k /h.
Qed.
End Contexts.
