(* Real closed fields with an exponential: all that softmax needs. No axioms. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Theory.
Variable R : expField.
Implicit Types x y : R.

Lemma expR_inj : injective (@expR R). Proof. exact: can_inj (@expK R). Qed.

Lemma expR0 : expR 0 = 1 :> R.
Proof. by apply: (mulfI (lt0r_neq0 (expR_gt0 (0 : R)))); rewrite -expRD addr0 mulr1. Qed.

Lemma expRB x y : expR (x - y) = expR x / expR y.
Proof. by apply: (mulIf (lt0r_neq0 (expR_gt0 y))); rewrite -expRD subrK divfK // lt0r_neq0 // expR_gt0. Qed.

Lemma ln_div : {in Num.pos &, {morph @ln R : x y / x / y >-> x - y}}.
Proof.
move=> x y x0 y0; apply: expR_inj; rewrite expRB !lnK // posrE divr_gt0 //.
Qed.
End Theory.
