(* The model for statements on measures: the definitions that a reader of main_measure.v must trust, beside those of
   model.v. No proofs. R : realType is any model of the real numbers, \bar R has also its infinities; measurable A
   for A : set R says that A is a Borel set, setT is the whole space. {ae mu, forall w, Q w} is "Q w for almost every w":
   the other w lie in a measurable set N with mu N = 0. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.classical Require Import boolp classical_sets functions mathcomp_extra.
From mathcomp Require Import reals ereal signed topology normedtype numfun measure lebesgue_measure exp.
From rankbound Require Import model.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory numFieldTopology.Exports.
Local Open Scope ring_scope.
Local Open Scope classical_set_scope.
Local Open Scope ereal_scope.

(* 1. The real numbers with their exponential, the sum of its series. *)
Definition realExp (R : realType) : expField :=
  @model.ExpField R (@sequences.expR R) (@exp.ln R) (@exp.expRD R) (@exp.expR_gt0 R) (@exp.ltr_expR R)
    (@exp.expK R) (@exp.lnK R).

Section Measures.
Variables (R : realType) (m n : nat).

(* 2. A random matrix Y on a probability space W: its entries are measurable, independent, and without atoms: no number
   has a positive probability. *)
Definition independent_without_atoms d (W : measurableType d) (prob : set W -> \bar R) (Y : W -> 'M[R]_(m, n)) :=
  [/\ prob setT = 1,
      forall i j, measurable_fun setT (fun w => Y w i j),
      forall A : 'I_m -> 'I_n -> set R, (forall i j, measurable (A i j)) ->
        prob [set w | forall i j, A i j (Y w i j)] = \big[mule/1]_i \big[mule/1]_j prob [set w | A i j (Y w i j)] &
      forall i j x, prob [set w | Y w i j = x] = 0].

(* 3. The space of matrices; its sigma-algebra is that of the boxes {M : M_ij in A_ij for all i, j}, A_ij Borel. *)
Definition boxes : set (set 'M[R]_(m, n)) := [set B | exists2 A : 'I_m -> 'I_n -> set R,
  forall i j, measurable (A i j) & B = [set M : 'M[R]_(m, n) | forall i j, A i j (M i j)]].
Definition matrices := [the measurableType (sigma_display boxes) of salgebraType boxes].

(* 4. Lebesgue measure on matrices: on a box the product of the lengths of its sides. *)
Definition lebesgue_on_matrices (mu : set 'M[R]_(m, n) -> \bar R) :=
  forall A : 'I_m -> 'I_n -> set R, (forall i j, measurable (A i j)) ->
    mu [set M : 'M[R]_(m, n) | forall i j, A i j (M i j)] = \big[mule/1]_i \big[mule/1]_j lebesgue_measure (A i j).
End Measures.
Arguments boxes R m n : clear implicits.
