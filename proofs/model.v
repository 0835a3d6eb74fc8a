(* The model: every definition that a reader of the theorems must trust. No proofs.

   Matrices 'M_(m, n) have m rows and n columns; 'cV_n is a column, 'rV_n a row. Indices i : 'I_n
   run from 0 to n - 1. A *m B is the product of matrices, a *: A the multiple of a matrix, A^T the
   transpose, \rank A the rank; %N marks natural numbers, %R ring elements, %MS row spaces:
   (A <= B)%MS says that the row space of A lies in that of B, and (A + B)%MS is the sum of row
   spaces. Under \rank the sum of two matrices is (A + B)%R.

   Columns are tokens. In a context, and in logits, row i is key i and column j is query j. *)
From mathcomp Require Import all_ssreflect all_algebra.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

(* 1. Numbers: a real closed field with an exponential and its logarithm. The real numbers are one
   (reals.v); nothing else of analysis is used. ln x is meaningful for x > 0 only. *)
Structure expField := ExpField {
  expBase :> rcfType;
  expR : expBase -> expBase;
  ln : expBase -> expBase;
  expRD : forall x y, expR (x + y) = expR x * expR y;
  expR_gt0 : forall x, 0 < expR x;
  ltr_expR : {mono expR : x y / x < y};
  expK : cancel expR ln;
  lnK : {in Num.pos, cancel ln expR} }.
Arguments expR {_}.
Arguments ln {_}.

(* "For almost all t": for all but the members of a finite sequence. *)
Definition almost_all (T : eqType) (Q : T -> Prop) := exists s : seq T, forall t, t \notin s -> Q t.

(* 2. The column of ones, and centring: C = I - 1 1^T / n takes each column's mean from it. *)
Section Centre.
Variables (F : fieldType) (n : nat).
Definition ones : 'cV[F]_n := const_mx 1.
Definition centre : 'M[F]_n := 1%:M - n%:R^-1 *: (ones *m ones^T).
End Centre.

Section Softmax.
Variable R : expField.

(* 3. Softmax of each column; contexts: positive, with columns that sum to 1. *)
Definition softmax m n (L : 'M[R]_(m, n)) : 'M[R]_(m, n) :=
  \matrix_(i, j) (expR (L i j) / \sum_l expR (L l j)).
Definition stochastic m n (P : 'M[R]_(m, n)) :=
  (forall i j, 0 < P i j) /\ (forall j, \sum_i P i j = 1).
Definition logm m n (P : 'M[R]_(m, n)) : 'M[R]_(m, n) := map_mx (@ln R) P.

(* 4. One head of size k on the tokens X: keys Wk X, queries Wq X, logits s (Wk X)^T (Wq X).
   The scale s is free; `temperature k` = 1 / sqrt k is the usual one. *)
Definition logits d n k (s : R) (X : 'M_(d, n)) (Wk Wq : 'M_(k, d)) : 'M[R]_n :=
  s *: ((Wk *m X)^T *m (Wq *m X)).
Definition context d n k s X Wk Wq := softmax (@logits d n k s X Wk Wq).
Definition temperature k : R := (Num.sqrt k%:R)^-1.

(* P is the context of some head of size k on X. *)
Definition reachable d n k s (X : 'M[R]_(d, n)) (P : 'M[R]_n) :=
  exists Wk Wq : 'M[R]_(k, d), context s X Wk Wq = P.

(* 5. The log-rank: the rank of C log P. *)
Definition logrank n (P : 'M[R]_n) := \rank (centre R n *m logm P).

(* P proportional to e^(a I), columns normalised. *)
Definition exp_identity n (a : R) : 'M[R]_n := softmax (a%:M).
End Softmax.

(* 6. Theorem B's two conditions on A (log P, for a context): C A v = 0 whenever X v = 0;
   u^T A = 0 whenever X u = 0 and the entries of u sum to 0. *)
Section Kills.
Variables (F : fieldType) (n d : nat) (X : 'M[F]_(d, n)) (A : 'M[F]_n).
Definition kills_null_right := forall v : 'cV[F]_n, X *m v = 0 -> centre F n *m A *m v = 0.
Definition kills_null_left :=
  forall u : 'cV[F]_n, X *m u = 0 -> (ones F n)^T *m u = 0 -> u^T *m A = 0.
End Kills.

(* 7. Masks: vis i j says that query j sees key i. Nested: of two keys the earlier one is seen by
   every query that sees the later. Causal: query j sees the keys i <= j. Prefix p: and the keys i < p. *)
Definition nested m n (vis : 'I_m -> 'I_n -> bool) :=
  forall (i l : 'I_m) j, (l <= i)%N -> vis i j -> vis l j.
Definition causal n (i j : 'I_n) := (i <= j)%N.
Arguments causal {n} i j.
Definition prefix p n (i j : 'I_n) := ((i < p) || (i <= j))%N.
Arguments prefix p {n} i j.

Section Masked.
Variables (R : expField) (n : nat) (vis : 'I_n -> 'I_n -> bool).
Definition msoftmax (L : 'M[R]_n) : 'M[R]_n :=
  \matrix_(i, j) if vis i j then expR (L i j) / \sum_(l | vis l j) expR (L l j) else 0.
Definition mstochastic (P : 'M[R]_n) :=
  [/\ forall i j, vis i j -> 0 < P i j, forall i j, ~~ vis i j -> P i j = 0 &
      forall j, \sum_i P i j = 1].
Definition mreachable d k s (X : 'M[R]_(d, n)) (P : 'M[R]_n) :=
  exists Wk Wq : 'M[R]_(k, d), msoftmax (logits s X Wk Wq) = P.
End Masked.

(* 8. The count of Theorem C. In a matrix D of which the entries with vis i j are given, row i is
   new when its visible part is not in the span of the rows above it, cut to the same columns. *)
Section NewRows.
Variables (F : fieldType) (m n : nat) (vis : 'I_m -> 'I_n -> bool).
Implicit Types D M : 'M[F]_(m, n).
(* M and D agree where vis holds *)
Definition completes M D := forall i j, vis i j -> M i j = D i j.
(* A *m keep_visible i is A with the columns that row i does not see set to 0 *)
Definition keep_visible (i : 'I_m) : 'M[F]_n := diag_mx (\row_j (vis i j)%:R).
(* D with all rows but the first i set to 0 *)
Definition rows_before D (i : nat) : 'M[F]_(m, n) := pid_mx i *m D.
Definition new_row D i := ~~ (row i D *m keep_visible i <= rows_before D i *m keep_visible i)%MS.
Definition new_rows D := (\sum_(i < m) new_row D i)%N.
End NewRows.

(* The masked log-rank: the new rows of log P less its row `anchor`, a key that every query sees
   (which one does not matter: sanity/definitions.v, masked_independent). *)
Section MaskedLogRank.
Variables (R : expField) (n : nat) (vis : 'I_n -> 'I_n -> bool) (anchor : 'I_n).
Definition log_ratio (P : 'M[R]_n) : 'M[R]_n := \matrix_(i, j) (ln (P i j) - ln (P anchor j)).
Definition masked_logrank P := new_rows vis (log_ratio P).
End MaskedLogRank.

(* 9. A layer of h heads with keys and queries of size k and values of size v, without residual and
   normalisation: f(X) = sum_i Wo_i Wv_i X softmax(logits of head i on X). *)
Section Layer.
Variables (R : expField) (d h : nat).
Definition layer k v (s : R) (Wo : 'I_h -> 'M_(d, v)) (Wv : 'I_h -> 'M_(v, d))
    (Wk Wq : 'I_h -> 'M_(k, d)) n (X : 'M[R]_(d, n)) : 'M_(d, n) :=
  \sum_i Wo i *m Wv i *m X *m context s X (Wk i) (Wq i).
End Layer.

(* 10. "c tokens back": query j >= c strictly prefers key j - c among the keys i <= j. *)
Definition head_looks_back (R : expField) d n k (s : R) (X : 'M[R]_(d, n)) c (Wk Wq : 'M_(k, d)) :=
  forall j t : 'I_n, (j = t + c :> nat)%N -> forall i : 'I_n, (i <= j)%N -> i != t ->
  logits s X Wk Wq i j < logits s X Wk Wq t j.
