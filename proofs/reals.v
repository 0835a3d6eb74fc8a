(* The real numbers have an exponential, so the headline theorems hold over them. The only file (with
   sanity/reals_instance.v) that needs mathcomp-analysis, and its three classical axioms. R : realType
   is any model of the real numbers, sequences.expR the sum of the exponential series. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import reals sequences exp.
From rankbound Require Import model exponential log_rank softmax_gauge theorem_a main.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Definition realExp (R : realType) : expField :=
  @model.ExpField R (@sequences.expR R) (@exp.ln R) (@exp.expRD R) (@exp.expR_gt0 R) (@exp.ltr_expR R)
    (@exp.expK R) (@exp.lnK R).

Section Real.
Variable R : realType.

(* what the words mean over the reals *)
Lemma real_softmaxE m n (L : 'M[R]_(m, n)) i j :
  @softmax (realExp R) m n L i j = sequences.expR (L i j) / \sum_l sequences.expR (L l j).
Proof. exact: (@softmaxE (realExp R)). Qed.

Theorem real_theorem_a d n k (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  (0 < n)%N -> (0 < k)%N -> \rank X = n ->
  (forall i j, 0 < P i j) -> (forall j, \sum_i P i j = 1) ->
  (exists Wk Wq : 'M_(k, d), forall i j, let L := (Num.sqrt k%:R)^-1 *: ((Wk *m X)^T *m (Wq *m X)) in
     sequences.expR (L i j) / (\sum_l sequences.expR (L l j)) = P i j)
  <-> (\rank (centre R n *m map_mx (@exp.ln R) P) <= k)%N.
Proof.
move=> n0 k0 rX P0 P1.
have := @theorem_a_sqrt (realExp R) d n k X P n0 k0 rX (conj P0 P1).
move=> [h1 h2]; split=> [[Wk [Wq h]] | /h2 [Wk [Wq <-]]].
  apply: h1; exists Wk, Wq; apply/matrixP => i j.
  exact: etrans (@softmaxE (realExp R) n n _ i j) (h i j).
exists Wk, Wq => i j L; exact: esym (@softmaxE (realExp R) n n _ i j).
Qed.
End Real.

(* The headline theorems over the reals, one by one; the statements stand in main.v. *)
Definition real_lemma_1 (R : realType) := @main.lemma_1 (realExp R).
Definition real_necessary (R : realType) := @main.necessary (realExp R).
Definition real_sharp (R : realType) := @main.sharp (realExp R).
Definition real_theorem_1_first (R : realType) := @main.theorem_1_first (realExp R).
Definition real_theorem_1_second (R : realType) := @main.theorem_1_second (realExp R).
Definition real_almost_every (R : realType) := @main.almost_every (realExp R).
Definition real_theorem_b (R : realType) := @main.theorem_b (realExp R).
Definition real_theorem_c (R : realType) := @main.theorem_c (realExp R).
Definition real_causal_heads (R : realType) := @main.causal_heads (realExp R).
Definition real_theorem_2_inclusion (R : realType) := @main.theorem_2_inclusion (realExp R).
Definition real_theorem_2_separation (R : realType) := @main.theorem_2_separation (realExp R).
Definition real_theorem_2_witness (R : realType) := @main.theorem_2_witness (realExp R).
Definition real_folklore (R : realType) := @main.folklore (realExp R).
