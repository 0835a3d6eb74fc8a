(* The headline theorems on measures: "almost every" in its full sense, over the real numbers. Every word that is not
   mathcomp's is defined in model.v or model_measure.v. W is a probability space, prob its probability; R is any model
   of the real numbers. The proofs stand in the files named. *)
From mathcomp Require Import all_ssreflect fingroup perm all_algebra.
From mathcomp.classical Require Import boolp classical_sets functions mathcomp_extra.
From mathcomp Require Import reals ereal topology normedtype measure lebesgue_measure.
From rankbound Require Import model model_measure draws_nested draws_independent simplex.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

(* There is a Lebesgue measure on the m x n matrices. [matrix_measure.v, draws_independent.v] *)
Theorem lebesgue_exists (R : realType) m n :
  exists mu : {measure set (matrices R m n) -> \bar R}, lebesgue_on_matrices mu.
Proof. exact: lebesgue_exists. Qed.

(* Almost every context on n + 1 tokens needs head size n. Drawn: Y is a matrix of positive random variables that are
   independent and without atoms, P is Y with its columns divided by their sums; so the columns of P are Dirichlet where
   the entries of Y have Gamma laws of one scale, and P is Gibbs, the softmax of Gaussian logits, where they are
   log-normal. With probability 1, P has log-rank n and is the context of no smaller head, on any tokens at any scale.
   Lebesgue: the same holds of every positive P with columns that sum to 1 but for a null set of R^(n x (n + 1)), where P
   stands for its rows 1 to n, its columns in open simplices. [draws_independent.v, simplex.v] *)
Theorem almost_every_context (R : realType) n :
  let full (P : 'M[realExp R]_n.+1) := logrank P = n /\
    forall dim k s (X : 'M_(dim, n.+1)), reachable k s X P -> (n <= k)%N in
  (forall d (W : measurableType d) (prob : {measure set W -> \bar R}) (Y : W -> 'M[R]_n.+1),
    (forall w i j, 0 < Y w i j) -> independent_without_atoms prob Y ->
    {ae prob, forall w, full (\matrix_(i, j) (Y w i j / \sum_l Y w l j))}) /\
  (forall mu : {measure set (matrices R n n.+1) -> \bar R}, lebesgue_on_matrices mu ->
    {ae mu, forall p, forall P : 'M[realExp R]_n.+1, stochastic P -> row' ord0 P = p -> full P}).
Proof.
split=> [d W prob Y Y0 ind | mu leb]; first exact: independent_contexts.
by apply: simplex_contexts; apply: lebesgue_product.
Qed.

(* Almost every matrix of logits on n + 1 tokens. L drawn with independent entries without atoms: with probability 1, C L
   has the rank n, and softmax L is the context of no head of a smaller size, on any tokens at any scale. And so for
   almost every L in the sense of Lebesgue: the L with rank (C L) < n are a null set. [draws_independent.v] *)
Theorem almost_every_logits (R : realType) n :
  let full (L : 'M[realExp R]_n.+1) := \rank (centre (realExp R) n.+1 *m L) = n /\
    forall dim k s (X : 'M_(dim, n.+1)), reachable k s X (softmax L) -> (n <= k)%N in
  (forall d (W : measurableType d) (prob : {measure set W -> \bar R}) (L : W -> 'M[R]_n.+1),
    independent_without_atoms prob L -> {ae prob, forall w, full (L w)}) /\
  (forall mu : {measure set (matrices R n.+1 n.+1) -> \bar R}, lebesgue_on_matrices mu -> {ae mu, forall L, full L}).
Proof.
split=> [d W prob L ind | mu leb]; apply: product_contexts; [exact: independent_product | exact: lebesgue_product].
Qed.

(* Nested masks. n + 1 tokens, a mask that is nested when the keys are taken in the order pi, K_i the queries that see
   key i of that order, K_0 all, T = max {i : i <= |K_i|}; so T = max (floor((n + 1)/2), p - 1) where all see the first
   p <= n + 1 tokens, and floor((n + 1)/2) under a causal mask (main.prefix_size). L drawn with independent entries
   without atoms: with probability 1 the least size of a head that has the masked context of L is T, on all X of full
   column rank. And so for almost every L in the sense of Lebesgue. [draws_independent.v] *)
Theorem almost_every_nested (R : realType) n (vis : 'I_n.+1 -> 'I_n.+1 -> bool) (pi : 'S_n.+1) :
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

(* Dependent tokens. X of rank below n >= 2, L drawn with independent entries without atoms: with probability 1
   softmax L is the context of no head on X, of any size at any scale. And so for almost every L in the sense of
   Lebesgue. [draws_independent.v] *)
Theorem almost_every_unreached (R : realType) dim n (X : 'M[realExp R]_(dim, n)) : (1 < n)%N -> (\rank X < n)%N ->
  let unreached (L : 'M[realExp R]_n) := forall s k, ~ reachable k s X (softmax L) in
  (forall d (W : measurableType d) (prob : {measure set W -> \bar R}) (L : W -> 'M[R]_n),
    independent_without_atoms prob L -> {ae prob, forall w, unreached (L w)}) /\
  (forall mu : {measure set (matrices R n n) -> \bar R}, lebesgue_on_matrices mu -> {ae mu, forall L, unreached L}).
Proof.
move=> n1 rX unreached; split=> [d W prob L ind | mu leb]; apply: product_deficient => //.
  exact: independent_product.
exact: lebesgue_product.
Qed.
