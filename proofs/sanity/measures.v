(* Tests of the definitions of model_measure.v: what the theorems of main_measure.v assume occurs for every m and n, and
   each hypothesis is needed. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.classical Require Import boolp classical_sets functions mathcomp_extra.
From mathcomp Require Import reals ereal signed topology normedtype numfun sequences measure lebesgue_measure exp.
From rankbound Require Import model model_measure log_rank draws_nested matrix_measure draws_independent.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory numFieldTopology.Exports.
Local Open Scope ring_scope.
Local Open Scope classical_set_scope.
Local Open Scope ereal_scope.

(* Lebesgue measure is not 0: the unit cube has measure 1 *)
Lemma unit_cube (R : realType) m n (mu : set 'M[R]_(m, n) -> \bar R) : lebesgue_on_matrices mu ->
  mu [set M : 'M[R]_(m, n) | forall i j, (0 <= M i j <= 1)%R] = 1.
Proof.
move=> leb; have := leb (fun _ _ => `[0%R, 1%R]%classic) (fun _ _ => measurable_itv _).
rewrite big1 => [|i _]; last by rewrite big1 // => j _; rewrite lebesgue_measure_itv hlength_itv /= lte01 oppr0 adde0.
by move=> <-; congr (mu _); rewrite predeqE => M; split=> h i j; have := h i j; rewrite /= in_itv.
Qed.

(* nor are the contexts a null set, in the coordinates of main_measure.almost_every_context: each p with entries between
   0 and 1 / (n + 1) is that of a context *)
Lemma contexts_not_null (R : realType) n (mu : set 'M[R]_(n, n.+1) -> \bar R) : lebesgue_on_matrices mu ->
  0 < mu [set p : 'M[R]_(n, n.+1) | forall i j, (0 < p i j < n.+1%:R^-1)%R] /\
  forall p : 'M[R]_(n, n.+1), (forall i j, 0 < p i j < n.+1%:R^-1)%R ->
    exists2 P : 'M[realExp R]_n.+1, stochastic P & row' ord0 P = p.
Proof.
move=> leb; have n0 : (0 < n.+1%:R^-1 :> R)%R by rewrite invr_gt0 ltr0n.
split=> [|p small].
  have -> : [set p : 'M[R]_(n, n.+1) | forall i j, (0 < p i j < n.+1%:R^-1)%R] =
      [set p : 'M[R]_(n, n.+1) | forall i j, (`]0%R, n.+1%:R^-1[%classic : set R) (p i j)].
    by rewrite predeqE => p; split=> h i j; have := h i j; rewrite /= in_itv.
  rewrite (leb (fun _ _ => `]0%R, n.+1%:R^-1[%classic)) => [|i j]; last exact: measurable_itv.
  elim/big_ind: _ => [|x y x0 y0|i _]; rewrite ?lte01 ?mule_gt0 //.
  elim/big_ind: _ => [|x y x0 y0|j _]; rewrite ?lte01 ?mule_gt0 //.
  by rewrite lebesgue_measure_itv hlength_itv /= lte_fin n0 oppr0 adde0 lte_fin.
exists (\matrix_(i, j) if unlift ord0 i is Some a then p a j else 1 - \sum_a p a j)%R; last first.
  by apply/matrixP => i j; rewrite !mxE liftK.
have sum_lt j : (\sum_a p a j < 1)%R.
  apply: (@le_lt_trans _ _ (\sum_(a < n) n.+1%:R^-1)%R).
    by apply: ler_sum => a _; have /andP [_ /ltW] := small a j.
  by rewrite sumr_const card_ord -[X in (X < _)%R]mulr_natl ltr_pdivr_mulr ?ltr0n // mul1r ltr_nat.
split=> [i j | j].
  by rewrite mxE; case: unliftP => [a _ | _]; [have /andP [] := small a j | rewrite subr_gt0].
rewrite big_ord_recl mxE unlift_none [X in (_ + X)%R](eq_bigr (fun a => p a j)) ?subrK // => a _.
by rewrite mxE liftK.
Qed.

(* independent, without atoms, positive: the exponentials of the entries of a matrix drawn uniformly from the unit cube *)
Section Instance.
Variables (R : realType) (m n : nat).
Let unit : set R := `]0%R, 1%R]%classic.
Let munit : measurable unit := measurable_itv _.
Let uniform : {measure set R -> \bar R} := [the measure _ _ of mrestr (lebesgue R) munit].

Lemma uniformT : uniform setT = 1.
Proof.
rewrite /= /mrestr setTI; apply: (etrans (lebesgue_measure_itv _)).
by rewrite hlength_itv /= lte01 oppr0 adde0.
Qed.

Lemma independent_exists : exists d (W : measurableType d) (prob : {measure set W -> \bar R}) (Y : W -> 'M[R]_(m, n)),
  (forall w i j, (0 < Y w i j)%R) /\ independent_without_atoms prob Y.
Proof.
have fin (p : 'I_m * 'I_n) : sigma_finite setT uniform.
  exists (fun=> setT); first by rewrite predeqE => x; split=> // _; exists 0%N.
  by move=> _; split=> //; rewrite uniformT ltry.
have [prob prod] := product_exists fin.
have cube (A : 'I_m -> 'I_n -> set R) : (forall i j, measurable (A i j)) ->
    prob [set w | forall i j, A i j (w i j)] = \big[mule/1]_i \big[mule/1]_j uniform (A i j).
  by move=> mA; apply: (etrans (congr1 prob (boxE A))); rewrite prod // pair_bigA.
have side (A : set R) i j : measurable A -> prob [set w : 'M_(m, n) | A (w i j)] = uniform A.
  move=> mA; pose B a b := if (a == i) && (b == j) then A else setT.
  have mB a b : measurable (B a b) by rewrite /B; case: ifP.
  rewrite (_ : [set w | _] = [set w : 'M_(m, n) | forall a b, B a b (w a b)]).
    rewrite cube // (bigD1 i) //= [X in X * _](bigD1 j) //= /B !eqxx /= big1 ?mule1 => [|b /negPf ->]; last exact: uniformT.
    by rewrite big1 ?mule1 // => a /negPf ai; rewrite big1 // => b _; rewrite ai uniformT.
  rewrite predeqE => w; split=> [h a b | /(_ i j)]; last by rewrite /B !eqxx.
  by rewrite /B; case: ifP => // /andP [/eqP -> /eqP ->].
have ind : independent_without_atoms prob (id : matrices R m n -> 'M[R]_(m, n)).
  split=> [|i j|A mA|i j x].
  - transitivity (prob [set w : 'M_(m, n) | forall i j, [set: R] (w i j)]); first by congr (prob _); rewrite predeqE.
    by rewrite (cube (fun _ _ => setT)) // big1 // => i _; rewrite big1 // => j _; apply: uniformT.
  - exact: (measurable_entry (i, j)).
  - by rewrite cube //; apply: eq_bigr => i _; apply: eq_bigr => j _; rewrite -(side _ i j).
  rewrite (side [set x]) //; have le := measureIl (lebesgue R) (measurable_set1 x) munit.
  by apply/eqP; rewrite eq_le measure_ge0 andbT; apply: le_trans le _; rewrite /= /pushforward lebesgue_measure_set1.
exists _, (matrices R m n), prob, (fun w => map_mx (@sequences.expR R) w).
split=> [w i j | ]; first by rewrite mxE exp.expR_gt0.
apply: independent_map ind => [|x]; first by apply: continuous_measurable_fun; exact: continuous_expR.
by exists (exp.ln x) => w i j <-; rewrite exp.expK.
Qed.
End Instance.

(* Each hypothesis is needed. Two tokens whose logits are all one random number U: the log-rank is 0, not 1. If U has no
   atoms, this matrix lacks independence alone; if U is constant, it lacks the absence of atoms alone. *)
Section Needed.
Variables (R : realType) (d : _) (W : measurableType d) (prob : {measure set W -> \bar R}) (U : W -> R).
Hypothesis prob1 : prob setT = 1.
Definition all_one (w : W) : 'M[realExp R]_2 := const_mx (U w).

Lemma all_one_fails : ~ {ae prob, forall w, logrank (softmax (all_one w)) = 1%N}.
Proof.
case=> N [mN N0 sub]; have NT : N = setT.
  rewrite predeqE => w; split=> // _; apply: sub => /= /esym; rewrite logrank_softmax //.
  have -> : all_one w = ones (realExp R) 2 *m const_mx (U w) by apply/matrixP => i j; rewrite !mxE big_ord1 !mxE mul1r.
  by rewrite mulmxA centre_ones ?mul0mx ?mxrank0 // pnatr_eq0.
by move: N0; rewrite NT prob1 => /eqP; rewrite onee_eq0.
Qed.

Lemma all_one_lacks_independence : measurable_fun setT U -> (forall x, prob [set w | U w = x] = 0) ->
  (forall i j, measurable_fun setT (fun w => all_one w i j : R)) /\ (forall i j x, prob [set w | all_one w i j = x] = 0).
Proof.
move=> mU null; have E i j : (fun w => all_one w i j : R) = U by apply/funext => w; rewrite mxE.
split=> [i j | i j x]; first by rewrite E.
by rewrite -(null x); congr (prob _); rewrite predeqE => w; rewrite /= mxE.
Qed.

Lemma all_one_has_atoms : (forall w w', U w = U w') ->
  (forall i j, measurable_fun setT (fun w => all_one w i j : R)) /\
  (forall A : 'I_2 -> 'I_2 -> set R, (forall i j, measurable (A i j)) ->
     prob [set w | forall i j, A i j (all_one w i j)] = \big[mule/1]_i \big[mule/1]_j prob [set w | A i j (all_one w i j)]).
Proof.
move=> same; have E i j w : all_one w i j = U point by rewrite mxE; apply: same.
have always (Q : Prop) : Q -> prob [set _ | Q] = 1 by move=> q; rewrite -prob1; congr (prob _); rewrite predeqE.
have never (Q : Prop) : ~ Q -> prob [set _ | Q] = 0 by move=> q; rewrite -(measure0 prob); congr (prob _); rewrite predeqE.
split=> [i j | A _].
  by rewrite (_ : (fun w => _) = cst (U point)); [apply: measurable_fun_cst | apply/funext => w; apply: E].
have -> : [set w | forall i j, A i j (all_one w i j)] = [set _ | forall i j, A i j (U point)].
  by rewrite predeqE => w; split=> h i j; have := h i j; rewrite E.
rewrite (eq_bigr (fun i => \big[mule/1]_j prob [set _ | A i j (U point)])) => [|i _]; last first.
  by apply: eq_bigr => j _; congr (prob _); rewrite predeqE => w; rewrite /= E.
have [all | /existsNP [i /existsNP [j no]]] := pselect (forall i j, A i j (U point)).
  by rewrite always // big1 // => i _; rewrite big1 // => j _; apply: always.
by rewrite never => [|h]; [rewrite (bigD1 i) //= (bigD1 j) //= never // !mul0e | apply: no].
Qed.
End Needed.
