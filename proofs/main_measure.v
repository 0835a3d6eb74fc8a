(* The headline theorems on measures: "almost every" in its full sense, over the real numbers. Every word that is not
   mathcomp's is defined in model.v or model_measure.v. W is a probability space, prob its probability; R is any model
   of the real numbers. The proofs stand in the files named. *)
From mathcomp Require Import all_ssreflect fingroup perm all_algebra.
From mathcomp.classical Require Import boolp classical_sets functions mathcomp_extra.
From mathcomp Require Import reals ereal topology normedtype measure lebesgue_measure.
From rankbound Require Import model model_measure exponential softmax_gauge theorem_a draws_nested draws_independent.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

(* Drawn contexts. Y is an n x n matrix of positive random variables that are independent and without atoms; P is Y with
   its columns divided by their sums. So the columns of P are Dirichlet where the entries of Y have Gamma laws (of
   scale 1), and P is Gibbs, the softmax of Gaussian logits, where they are log-normal. With probability 1, P has
   log-rank n - 1 and is the context of no smaller head, on any tokens at any scale. [draws_independent.v] *)
Theorem drawn_contexts (R : realType) d (W : measurableType d) (prob : {measure set W -> \bar R}) n (Y : W -> 'M[R]_n) :
  (0 < n)%N -> (forall w i j, 0 < Y w i j) -> independent_without_atoms prob Y ->
  {ae prob, forall w, let P : 'M[realExp R]_n := \matrix_(i, j) (Y w i j / \sum_l Y w l j) in
    logrank P = n.-1 /\
    forall dim k s (X : 'M_(dim, n)), reachable k s X P -> (n.-1 <= k)%N}.
Proof. exact: independent_contexts. Qed.

(* Drawn logits. L is an n x n matrix of random variables that are independent and without atoms. With probability 1,
   softmax L has log-rank n - 1 and is the context of no smaller head, on any tokens at any scale.
   [draws_independent.v] *)
Theorem drawn_logits (R : realType) d (W : measurableType d) (prob : {measure set W -> \bar R}) n (L : W -> 'M[R]_n) :
  (0 < n)%N -> independent_without_atoms prob L ->
  {ae prob, forall w, let P : 'M[realExp R]_n := softmax (L w : 'M[realExp R]_n) in
    logrank P = n.-1 /\
    forall dim k s (X : 'M_(dim, n)), reachable k s X P -> (n.-1 <= k)%N}.
Proof. by move=> n0 /independent_product; apply: product_contexts. Qed.

(* Lebesgue-almost every matrix. There is a Lebesgue measure on the n x n matrices; and for almost every L in its sense
   softmax L has log-rank n - 1 and is the context of no smaller head, on any tokens at any scale: the L with
   rank (C L) < n - 1 are a null set of R^(n x n). [draws_independent.v] *)
Theorem lebesgue_logits (R : realType) n : (0 < n)%N ->
  (exists mu : {measure set (matrices R n n) -> \bar R}, lebesgue_on_matrices mu) /\
  (forall mu : {measure set (matrices R n n) -> \bar R}, lebesgue_on_matrices mu ->
    {ae mu, forall L, let P := softmax (L : 'M[realExp R]_n) in
      [/\ \rank (centre R n *m L) = n.-1, logrank P = n.-1 &
      forall dim k s (X : 'M_(dim, n)), reachable k s X P -> (n.-1 <= k)%N]}).
Proof.
move=> n0; split=> [|mu leb]; first exact: lebesgue_exists.
apply: ae_weaken (product_contexts n0 (lebesgue_product leb)) _ => L [e small]; split=> //.
exact: etrans (esym (@logrank_softmax (realExp R) n L n0)) e.
Qed.

(* Nested masks. n + 1 tokens, a mask that is nested when the keys are taken in the order pi, K_i the queries that see
   key i of that order, K_0 all, T = max {i : i <= |K_i|}; so T = max (floor((n + 1)/2), p - 1) where all see the first
   p <= n + 1 tokens, and floor((n + 1)/2) under a causal mask (main.prefix_size). With probability 1 the least size of
   a head that has the masked context of L is T, on all X of full column rank; and for almost every L in the sense of
   Lebesgue. [draws_independent.v] *)
Theorem drawn_nested (R : realType) n (vis : 'I_n.+1 -> 'I_n.+1 -> bool) (pi : 'S_n.+1) :
  nested (fun i => vis (pi i)) -> (forall j, vis (pi ord0) j) ->
  let T := (\max_(i < n.+1 | (i <= #|[set j | vis (pi i) j]%SET|)%N) i)%N in
  let least (L : 'M[realExp R]_n.+1) := forall dim k s (X : 'M_(dim, n.+1)), s != 0 -> \rank X = n.+1 ->
    mreachable vis k s X (msoftmax vis L) <-> (T <= k)%N in
  (forall d (W : measurableType d) (prob : {measure set W -> \bar R}) (L : W -> 'M[R]_n.+1),
    independent_without_atoms prob L -> {ae prob, forall w, least (L w)}) /\
  (forall mu : {measure set (matrices R n.+1 n.+1) -> \bar R}, lebesgue_on_matrices mu -> {ae mu, forall L, least L}).
Proof.
move=> nest seen T least; split=> [d W prob L ind | mu leb]; apply: product_nested => //.
  exact: independent_product.
exact: lebesgue_product.
Qed.

(* Dependent tokens. X of rank below n >= 2: with probability 1 no head of any size and scale has the context of L on X;
   and so for almost every L in the sense of Lebesgue. [draws_independent.v] *)
Theorem drawn_deficient (R : realType) dim n (X : 'M[realExp R]_(dim, n)) : (1 < n)%N -> (\rank X < n)%N ->
  let unreached (L : 'M[realExp R]_n) := forall s k, ~ reachable k s X (softmax L) in
  (forall d (W : measurableType d) (prob : {measure set W -> \bar R}) (L : W -> 'M[R]_n),
    independent_without_atoms prob L -> {ae prob, forall w, unreached (L w)}) /\
  (forall mu : {measure set (matrices R n n) -> \bar R}, lebesgue_on_matrices mu -> {ae mu, forall L, unreached L}).
Proof.
move=> n1 rX unreached; split=> [d W prob L ind | mu leb]; apply: product_deficient => //.
  exact: independent_product.
exact: lebesgue_product.
Qed.
