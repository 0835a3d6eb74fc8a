(* Almost every context, in the sense of Lebesgue measure on the open simplices of its columns. The coordinates of
   P are its entries but those of row 0. Of the numbers for the entry y of a pivot at most two fail: as a function of y
   the minor is a ln y - b ln (c - y) + e, a <> 0; its derivative has at most one zero in (0, c), and by Rolle's
   theorem it has one between any two zeros of the minor. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From mathcomp.classical Require Import boolp classical_sets functions mathcomp_extra.
From mathcomp Require Import reals ereal signed topology normedtype derive realfun sequences numfun.
From mathcomp Require Import measure lebesgue_measure exp.
From rankbound Require Import model draws draws_nested model_measure matrix_measure draws_independent.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory numFieldTopology.Exports numFieldNormedType.Exports.
Local Open Scope ring_scope.
Local Open Scope classical_set_scope.

Section Zeros.
Variables (R : realType) (a b c e : R).
Hypothesis a0 : a != 0.
Let f (y : R) := a * exp.ln y - b * exp.ln (c - y) + e.
Let zero y := 0 < y /\ y < c /\ f y = 0.

Lemma derivative y : 0 < y -> y < c -> is_derive y 1 f (a / y + b / (c - y)).
Proof.
move=> y0 yc; have d1 : is_derive y 1 (@exp.ln R) y^-1 by apply: exp.is_derive1_ln.
have d2 : is_derive (c - y) 1 (@exp.ln R) (c - y)^-1 by apply: exp.is_derive1_ln; rewrite subr_gt0.
have d3 : is_derive y 1 (fun z : R => c - z) (0 - 1) by apply: (@is_deriveB _ _ _ (cst c) id).
have d4 : is_derive y 1 (fun z => exp.ln (c - z)) ((c - y)^-1 * (0 - 1)).
  exact: (@is_derive1_comp _ (@exp.ln R) (fun z => c - z)).
have -> : f = (a \*: (@exp.ln R) - b \*: (fun z => exp.ln (c - z)) + cst e)%R by apply/funext.
apply: is_derive_eq; rewrite sub0r mulrN1 scalerN opprK addr0.
by [].
Qed.

(* between two zeros lies a zero of the derivative *)
Lemma between y z : zero y -> zero z -> y < z -> exists2 x, y < x < z & 0 < x < c /\ a * (c - x) + b * x = 0.
Proof.
move=> [y0 [yc fy]] [z0 [zc fz]] yz.
have inside x : y <= x -> x <= z -> 0 < x /\ x < c by move=> yx xz; split; [apply: lt_le_trans yx | apply: le_lt_trans xz _].
have [] := @Rolle R f y z yz.
- by move=> x; rewrite in_itv /= => /andP [yx xz]; have [x0 xc] := inside x (ltW yx) (ltW xz); have [] := derivative x0 xc.
- apply: continuous_in_subspaceT => x; rewrite inE /= in_itv /= => /andP [yx xz]; have [x0 xc] := inside x yx xz.
  by apply/differentiable_continuous/derivable1_diffP; have [] := derivative x0 xc.
- by rewrite fy fz.
move=> x; rewrite in_itv /= => xyz dx; exists x => //; case/andP: xyz => /ltW yx /ltW xz.
have [x0 xc] := inside x yx xz; split; first by rewrite x0.
have [_ d0] := dx; have [_ d1] := derivative x0 xc; have {d0 d1} d0 : a / x + b / (c - x) = 0 by rewrite -d1.
rewrite -[RHS](mul0r (x * (c - x))) -d0 mulrDl mulrA divfK ?gt_eqF // [X in _ = _ + _ * X]mulrC mulrA divfK //.
by rewrite subr_eq0 gt_eqF.
Qed.

(* three zeros are too many *)
Lemma no_three y1 y2 y3 : zero y1 -> zero y2 -> zero y3 -> y1 < y2 -> y2 < y3 -> False.
Proof.
move=> z1 z2 z3 y12 y23; have [x /andP [_ xy] [/andP [x0 xc] dx]] := between z1 z2 y12.
have [z /andP [yz _] [_ dz]] := between z2 z3 y23; have xz := lt_trans xy yz.
have ab : (b - a) * (z - x) = 0 by rewrite -[RHS](subrr 0) -{1}dz -dx; ring.
have {ab} ab : b = a by move/eqP: ab; rewrite mulf_eq0 !subr_eq0 (gt_eqF xz) orbF => /eqP.
have : a * c = 0 by rewrite -dx ab; ring.
by move/eqP; rewrite mulf_eq0 (negPf a0) gt_eqF // (lt_trans x0).
Qed.

Lemma two_zeros : exists s : seq R, forall y, 0 < y -> y < c -> f y = 0 -> y \in s.
Proof.
have [[y1 z1] | no] := pselect (exists y, zero y); last by exists [::] => y y0 yc fy; case: no; exists y.
have [[y2 [z2 y12]] | no] := pselect (exists y, zero y /\ y1 < y).
  exists [:: y1; y2] => y y0 yc fy; have z : zero y by [].
  rewrite !inE; apply: contraT; rewrite negb_or => /andP []; rewrite neq_lt => /orP [lt1 | gt1].
    by case: (no_three z z1 z2).
  by rewrite neq_lt => /orP [lt2 | gt2]; [case: (no_three z1 z z2) | case: (no_three z1 z2 z)].
have [[y2 [z2 y21]] | no'] := pselect (exists y, zero y /\ y < y1).
  exists [:: y1; y2] => y y0 yc fy; have z : zero y by [].
  rewrite !inE; apply: contraT; rewrite negb_or => /andP []; rewrite neq_lt => /orP [lt1 | gt1]; last by case: no; exists y.
  by rewrite neq_lt => /orP [lt2 | gt2]; [case: (no_three z z2 z1) | case: (no_three z2 z z1)].
exists [:: y1] => y y0 yc fy; rewrite inE; apply: contraT; rewrite neq_lt => /orP [lt | gt].
  by case: no'; exists y.
by case: no; exists y.
Qed.
End Zeros.

Section Simplex.
Variables (R : realType) (n : nat).
Local Notation coordinates := (matrices R n n.+1).


(* log P for the P with the rows p below row 0 and columns that sum to 1 *)
Definition log_of p : 'M[R]_n.+1 :=
  \matrix_(i, j) if unlift ord0 i is Some a then exp.ln (p a j) else exp.ln (1 - \sum_a p a j).
Local Notation minor t p := (leading (lift ord0) (lift ord0) ord0 t (log_of p)).

Lemma block_log_of p i j :
  block (lift ord0) (lift ord0) ord0 (log_of p) i j = exp.ln (p i (lift ord0 j)) - exp.ln (1 - \sum_a p a (lift ord0 j)).
Proof. by rewrite !mxE liftK unlift_none. Qed.

(* pivot t fails, and its entry is in the open simplex of its column *)
Let col (t : 'I_n) : 'I_n.+1 := lift ord0 t.
Let E (t : 'I_n) : set coordinates :=
  [set p : 'M[R]_(n, n.+1) | [/\ 0 < p t (col t), \sum_a p a (col t) < 1 & fails (lift ord0) (lift ord0) ord0 t (log_of p)]].

Lemma measurable_minor t : measurable_fun setT (fun p : coordinates => \det (minor t p) : R).
Proof.
have mentry i j : measurable_fun setT (fun p : coordinates => p i j : R) by apply: (measurable_entry (i, j)).
have mln (f : coordinates -> R) : measurable_fun setT f -> measurable_fun setT (fun p => exp.ln (f p)).
  by move=> mf; apply: measurable_fun_comp (@measurable_ln R) mf.
apply: measurable_det => i j; under eq_fun do rewrite mxE; case: (i < t)%N; last exact: measurable_fun_cst.
under eq_fun do rewrite block_log_of; apply: measurable_funB; apply: mln => //.
by apply: measurable_funB; [apply: measurable_fun_cst | apply: measurable_sum => a; apply: mentry].
Qed.

Lemma measurable_E t : measurable (E t).
Proof.
have mentry i j : measurable_fun setT (fun p : coordinates => p i j : R) by apply: (measurable_entry (i, j)).
have msum : measurable_fun setT (fun p : coordinates => \sum_a p a (col t) : R).
  by apply: measurable_sum => a; apply: mentry.
pose positive : set R := [set` `]0%R, +oo[%R]; pose below_1 : set R := [set` `]-oo, 1%R[%R].
have mp : measurable positive by apply: measurable_itv.
have mb : measurable below_1 by apply: measurable_itv.
rewrite (_ : E t = (fun p : coordinates => p t (col t) : R) @^-1` positive `&`
    (fun p : coordinates => \sum_a p a (col t) : R) @^-1` below_1 `&`
    (~` ((fun p : coordinates => \det (minor t p) : R) @^-1` [set 0]) `&`
    ((fun p : coordinates => \det (minor t.+1 p) : R) @^-1` [set 0]))).
  have pre (f : coordinates -> R) (A : set R) : measurable_fun setT f -> measurable A -> measurable (f @^-1` A).
    by move=> mf mA; rewrite -[X in measurable X]setTI; apply: mf.
  apply: measurableI; apply: measurableI.
  - exact: pre.
  - exact: pre.
  - by apply: measurableC; apply: pre; [apply: measurable_minor | apply: measurable_set1].
  - by apply: pre; [apply: measurable_minor | apply: measurable_set1].
rewrite predeqE => p; rewrite /E /fails /positive /below_1 /= !in_itv /= andbT.
split=> [[? ? /andP [/eqP ? /eqP]] | [[? ?] [/eqP ? /eqP ?]]] //.
by split=> //; apply/andP.
Qed.

(* the minor of a pivot as a function of its entry *)
Lemma minor_put t p : let q y := put (t, col t) (p : coordinates, y) in
  (forall y, \det (minor t (q y)) = \det (minor t p)) /\
  exists b e : R, forall y, \det (minor t.+1 (q y)) =
    \det (minor t p) * exp.ln y - b * exp.ln (1 - \sum_(a | a != t) p a (col t) - y) + e.
Proof.
move=> q; pose cof i := cofactor (minor t.+1 p) i t.
have qE y a j : q y a j = if (a, j) == (t, col t) then y else p a j by rewrite mxE.
have cofE y i : cofactor (minor t.+1 (q y)) i t = cof i.
  apply: eq_cofactor_col => a b bt; rewrite mxE [RHS]mxE !block_log_of.
  have ne a' : ((a', lift ord0 b) == (t, col t)) = false by rewrite xpair_eqE (inj_eq lift_inj) (negPf bt) andbF.
  by rewrite qE ne; under eq_bigr do rewrite qE ne.
split=> [y | ]; first by rewrite -2!cofactor_leading cofE.
exists (\sum_(i < n | (i < t.+1)%N) cof i), (\sum_(i < n | (i < t.+1)%N && (i != t)) exp.ln (p i (col t)) * cof i) => y.
rewrite (expand_det_col _ t) -cofactor_leading -/(cof t).
have sumE : 1 - \sum_a q y a (col t) = 1 - \sum_(a | a != t) p a (col t) - y.
  rewrite (bigD1 t) //= qE eqxx opprD addrA addrAC; congr (_ - _ - _).
  by apply: eq_bigr => a at'; rewrite qE xpair_eqE (negPf at').
rewrite (bigID (fun i : 'I_n => i < t.+1)%N) /= [X in _ + X]big1 ?addr0 => [|i it]; last first.
  rewrite [leading _ _ _ _ _ _ _]mxE (negPf it) (_ : i == t = false) ?mul0r //.
  by apply: contraNF it => /eqP ->.
rewrite (eq_bigr (fun i => exp.ln (q y i (col t)) * cof i - cof i * exp.ln (1 - \sum_(a | a != t) p a (col t) - y))).
  rewrite sumrB -mulr_suml [RHS]addrAC; congr (_ - _); rewrite (bigD1 t) //= qE eqxx mulrC; congr (_ + _).
  by apply: eq_bigr => i /andP [_ it]; rewrite qE xpair_eqE (negPf it).
by move=> i it; rewrite cofE [leading _ _ _ _ _ _ _]mxE it block_log_of sumE mulrBl [X in _ - X]mulrC.
Qed.

Lemma sparse_E t p : exists s : seq R, forall y, E t (put (t, col t) (p : coordinates, y)) -> y \in s.
Proof.
have [same [b [e h]]] := minor_put t p; have [z | nz] := eqVneq (\det (minor t p)) 0.
  by exists [::] => y [_ _ /andP []]; rewrite same z eqxx.
have [s hs] := two_zeros b (1 - \sum_(a | a != t) p a (col t)) e nz.
exists s => y [y0 y1 /andP [_ /eqP]]; rewrite h; apply: hs.
  by move: y0; rewrite mxE eqxx.
move: y1; rewrite (bigD1 t) //= mxE eqxx -ltr_subr_addr.
rewrite (eq_bigr (fun a => p a (col t))) => [//|a at']; by rewrite mxE xpair_eqE (negPf at').
Qed.

(* almost everywhere in the open simplices the log-rank is n, on n + 1 tokens *)
Theorem simplex_contexts d (W : measurableType d) (mu : {measure set W -> \bar R}) (p : W -> 'M[R]_(n, n.+1)) :
  atomless_product mu p ->
  {ae mu, forall w, forall P : 'M[realExp R]_n.+1, stochastic P -> row' ord0 P = p w -> logrank P = n /\
    forall dim k s (X : 'M_(dim, n.+1)), reachable k s X P -> (n <= k)%N}.
Proof.
move=> prod; have nullE t : mu.-negligible [set w | E t (p w)].
  by apply: (sparse_null prod (p := (t, col t))) => [|q]; [apply: measurable_E | apply: sparse_E].
apply: negligible_subset (negligible_exists nullE) _ => w /= no.
apply: contrapT => none; apply: no => P sP rowP; suff e : @logrank (realExp R) n.+1 P = n by split=> //; apply: full_needs.
have [P0 P1] := sP; apply/eqP; apply: contra_notT none => ne.
have sumP j : 1 - \sum_a p w a j = P ord0 j.
  have -> : \sum_a p w a j = \sum_(a < n) P (lift ord0 a) j by apply: eq_bigr => a _; rewrite -rowP mxE.
  by rewrite -(P1 j) big_ord_recl addrK.
have logP : @logm (realExp R) _ _ P = log_of (p w).
  apply/matrixP => i j; rewrite !mxE sumP; case: unliftP => [a ->|-> //]; by rewrite -rowP mxE.
have : \det (block (lift ord0) (lift ord0) ord0 (log_of (p w))) = 0.
  apply/eqP; apply: contraNT ne; rewrite -logP => nz; apply/eqP.
  by apply: full_block; rewrite ?pnatr_eq0.
move=> /some_pivot_fails [t ht]; exists t; split=> //; first by rewrite -rowP mxE P0.
by rewrite -subr_gt0 sumP P0.
Qed.
End Simplex.
