(* The headline theorems, outside sections: every hypothesis is visible, and every word that is not
   mathcomp's is defined in model.v. Throughout, R is any real closed field with an exponential
   (reals.v: the real numbers are one), X (d x n) holds n tokens in dimension d, s is the scale of
   the logits. The proofs stand in the files named. *)
From mathcomp Require Import all_ssreflect fingroup perm all_algebra.
From rankbound Require Import model exponential linalg almost_all log_rank softmax_gauge theorem_a.
From rankbound Require Import theorem_1 theorem_1_more theorem_1_dense theorem_b theorem_b_softmax theorem_b_cases theorem_b_example.
From rankbound Require Import theorem_c theorem_c_softmax theorem_c_ordered theorem_c_generic theorem_c_causal.
From rankbound Require Import theorem_2_inclusion theorem_2_separation theorem_2_b20 folklore.
From rankbound Require Import positive_distance theorem_c_prefix visible_block theorem_2_concat variants variants_logits.
From rankbound Require Import any_tokens_any_mask causal_one_missing causal_two_missing.
From rankbound Require Import head_size_one selecting_sets layer_norm draws draws_nested draws_laws stationary kl.
From rankbound Require Import certified_gap certified_minor.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

(* Lemma 1. softmax(L) = softmax(L') iff L - L' = 1 c^T for some c. [softmax_gauge.v] *)
Theorem lemma_1 (R : expField) m n (L L' : 'M[R]_(m, n)) :
  softmax L = softmax L' <-> exists c : 'rV_n, L - L' = ones R m *m c.
Proof. exact: softmax_gauge. Qed.

(* Theorem A. X of full column rank, n >= 1, s <> 0: a positive column-stochastic P is the context
   of a head of size k on X iff logrank P <= k. [theorem_a.v] *)
Theorem theorem_a (R : expField) d n k (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  (0 < n)%N -> s != 0 -> \rank X = n -> stochastic P ->
  reachable k s X P <-> (logrank P <= k)%N.
Proof. by move=> n0 s0 rX sP; apply: theorem_a. Qed.

(* Theorem A, necessity, for every X and s: a positive context P of a head of size k has
   logrank P <= k. [theorem_a.v] *)
Theorem necessary (R : expField) d n k (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  (0 < n)%N -> stochastic P -> reachable k s X P -> (logrank P <= k)%N.
Proof. by move=> n0 sP [Wk [Wq h]]; apply: logrank_necessary h. Qed.

(* The sharp threshold. On X of full column rank head size n - 1 reaches every P; on no X and at no
   scale does a smaller head reach P proportional to e^(a I), a <> 0. [theorem_1.v] *)
Theorem sharp (R : expField) n : (0 < n)%N ->
  (forall d k (s : R) (X : 'M[R]_(d, n)) P, s != 0 -> \rank X = n -> stochastic P ->
     (n.-1 <= k)%N -> reachable k s X P) /\
  (forall d k (s a : R) (X : 'M[R]_(d, n)), a != 0 ->
     reachable k s X (exp_identity n a) -> (n.-1 <= k)%N).
Proof.
move=> n0; split=> [d k s X P s0 rX sP nk | d k s a X a0 [Wk [Wq h]]]; first exact: sharp_threshold.
exact: exp_identity_needs h.
Qed.

(* B20, Theorem 1, first half. d >= n, X of full column rank: heads of size d reach every P.
   [theorem_1.v] *)
Theorem theorem_1_first (R : expField) d n (s : R) (X : 'M[R]_(d, n)) P :
  (0 < n)%N -> s != 0 -> \rank X = n -> stochastic P -> reachable d s X P.
Proof. by move=> n0 s0 rX sP; apply: theorem_1_first. Qed.

(* The same exactly. Over any field and for every M: heads of size d have the logits C M on X of rank n. So over the
   real numbers the logits C log P, times any s <> 0, and the context P; and where X and M are rational
   there are rational keys and queries with the logits C M, whose context is that of M. [theorem_1.v] *)
Theorem theorem_1_exact :
  [/\ forall (F : fieldType) d n (X : 'M[F]_(d, n)) (M : 'M[F]_n), \rank X = n ->
        exists Wk Wq : 'M[F]_d, (Wk *m X)^T *m (Wq *m X) = centre F n *m M,
      forall (R : expField) d n (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n),
        (0 < n)%N -> s != 0 -> \rank X = n -> stochastic P -> exists Wk Wq : 'M[R]_d,
          logits s X Wk Wq = centre R n *m logm P /\ context s X Wk Wq = P &
      forall (R : expField) d n (X : 'M[rat]_(d, n)) (M : 'M[rat]_n), (0 < n)%N -> \rank X = n ->
        exists Wk Wq : 'M[rat]_d, (Wk *m X)^T *m (Wq *m X) = centre rat_fieldType n *m M /\
          context 1 (map_mx ratr X) (map_mx ratr Wk) (map_mx ratr Wq) = softmax (map_mx (@ratr R) M)].
Proof.
split; [exact: exact_logits | exact: exact_context | exact: rational_context].
Qed.

(* B20, Theorem 1, second half, for every X of rank below n >= 2: some P is the context of no head
   of any size at any scale. [theorem_1_more.v] *)
Theorem theorem_1_second (R : expField) d n (X : 'M[R]_(d, n)) : (1 < n)%N -> (\rank X < n)%N ->
  exists2 P : 'M[R]_n, stochastic P & forall s k, ~ reachable k s X P.
Proof. exact: deficient. Qed.

(* The same for almost every P: X of rank below n >= 2, one direction in which on every line of logits all
   but finitely many have a context that no head of any size and scale has on X; and such contexts
   within any ratio e^e of any P. [theorem_1_more.v, theorem_1_dense.v] *)
Theorem theorem_1_second_lines (R : expField) d n (X : 'M[R]_(d, n)) : (1 < n)%N -> (\rank X < n)%N ->
  (exists i j : 'I_n, forall A : 'M[R]_n, almost_all (fun t : R =>
     forall s k, ~ reachable k s X (softmax (A + t *: delta_mx i j)))) /\
  (forall (P : 'M[R]_n) (e : R), stochastic P -> 0 < e -> exists Q : 'M[R]_n,
     [/\ stochastic Q, forall i j, `|ln (Q i j) - ln (P i j)| <= e & forall s k, ~ reachable k s X Q]).
Proof. by move=> n1 rX; split=> [|P e sP e0]; [apply: deficient_lines | apply: deficient_dense]. Qed.

(* Drawn logits on dependent tokens. X of rank below n >= 2: of the logits with entries from a finite set S of numbers all but a
   share of 1 / |S| have a context that no head of any size and scale has on X. [draws_nested.v] *)
Theorem deficient_draws (R : expField) d n (X : 'M[R]_(d, n)) (S : finType) (v : S -> R) :
  injective v -> (1 < n)%N -> (\rank X < n)%N ->
  exists2 rare : {set 'M[S]_n}, (#|rare| * #|S| <= #|{: 'M[S]_n}|)%N &
  forall M, M \notin rare -> forall s k, ~ reachable k s X (softmax (map_mx v M)).
Proof. exact: deficient_draws. Qed.

(* How far heads stay away. X has the token x_j = 0, P any context: the KL divergence from P of the context Q of a head of
   any size and scale, the mean over the columns, is at least that of column j of P from the uniform one, over
   n. Where e^x >= 1 + x, as for the exponential of the real numbers, which needs no such hypothesis in
   reals.v. [kl.v] *)
Theorem zero_token_kl (R : expField) d n k (s : R) (X : 'M[R]_(d, n)) (P Q : 'M[R]_n) (j : 'I_n) :
  (forall x : R, 1 + x <= expR x) -> col j X = 0 -> stochastic P -> reachable k s X Q ->
  n%:R^-1 * (\sum_i P i j * (ln (P i j) - ln (n%:R^-1))) <=
  n%:R^-1 * (\sum_l \sum_i P i l * (ln (P i l) - ln (Q i l))).
Proof. by move=> ge Xj sP hQ; apply: (zero_token_kl ge Xj sP hQ). Qed.

(* Almost every P needs head size n - 1: on every line of logits A + t I all but finitely many t do,
   and within any ratio e^e of any P some Q does, on every X. [theorem_1_more.v, theorem_1_dense.v] *)
Theorem almost_every (R : expField) n : (0 < n)%N ->
  (forall A : 'M[R]_n, almost_all (fun t : R => logrank (softmax (A + t%:M)) = n.-1)) /\
  (forall (P : 'M[R]_n) (e : R), stochastic P -> 0 < e -> exists Q : 'M[R]_n,
     [/\ stochastic Q, forall i j, `|ln (Q i j) - ln (P i j)| <= e &
         forall d k s (X : 'M_(d, n)), reachable k s X Q -> (n.-1 <= k)%N]).
Proof.
by move=> n0; split=> [A | P e sP e0]; [apply: almost_every | apply: unreachable_dense].
Qed.

(* Drawn logits. Of the n x n logits with entries from a finite set S of numbers (S a finite type, its numbers v x) all
   but a share of (n - 1) / |S| have a P of log-rank n - 1, which no head of a smaller size has on any X.
   [draws_nested.v] *)
Theorem full_draws (R : expField) n (S : finType) (v : S -> R) : injective v -> (0 < n)%N ->
  exists2 rare : {set 'M[S]_n}, (#|rare| * #|S| <= n.-1 * #|{: 'M[S]_n}|)%N &
  forall M, M \notin rare -> logrank (softmax (map_mx v M)) = n.-1 /\
    forall d k s (X : 'M_(d, n)), reachable k s X (softmax (map_mx v M)) -> (n.-1 <= k)%N.
Proof.
move=> vI n0; have [rare small h] := full_draws vI n0; exists rare => // M /h e; split=> // d k s X [Wk [Wq]].
by rewrite -e; apply: logrank_necessary => //; apply: softmax_stochastic.
Qed.

(* Logits drawn by any law. Where the entries of n x n logits are drawn independently from finitely many numbers v x,
   entry (i, j) with the probabilities w i j x <= e, the log-rank is not n - 1 with a probability of at most
   (n - 1) e. [draws_laws.v] *)
Theorem full_laws (R : expField) n (S : finType) (v : S -> R) (w : 'I_n -> 'I_n -> S -> R) (e : R) :
  injective v -> (0 < n)%N -> (forall i j x, 0 <= w i j x <= e) -> (forall i j, \sum_x w i j x = 1) ->
  \sum_(M : 'M[S]_n | logrank (softmax (map_mx v M)) != n.-1) \prod_i \prod_j w i j (M i j) <= n.-1%:R * e.
Proof. exact: full_laws. Qed.

(* Too small a head stays away. If logrank P > k, some e > 0 is such that every context of a head of size k, on
   any tokens at any scale, differs from P by more than e in some entry; for logrank Q >= logrank P in
   an entrywise neighbourhood of P. [positive_distance.v] *)
Theorem too_small (R : expField) n (P : 'M[R]_n) : stochastic P ->
  (exists2 e, 0 < e & forall Q : 'M[R]_n, (forall i j, `|Q i j - P i j| <= e) -> (logrank P <= logrank Q)%N) /\
  (forall k, (k < logrank P)%N -> exists2 e, 0 < e &
     forall d s (X : 'M_(d, n)) Q, reachable k s X Q -> exists i j, e < `|Q i j - P i j|).
Proof. by move=> sP; split=> [|k]; [case: sP => P0 _; apply: logrank_open_entries | apply: positive_distance]. Qed.

(* Within a ratio. Logits L on tokens of full column rank, s <> 0: for every ratio e^e' that is small enough, and every P
   within that ratio of softmax L in each entry, the least size of a head that comes within that ratio of P
   is rank (C L). [positive_distance.v] *)
Theorem least_size_within (R : expField) d n (s : R) (X : 'M[R]_(d, n)) (L : 'M[R]_n) :
  (0 < n)%N -> s != 0 -> \rank X = n ->
  exists2 e, 0 < e & forall e' (P : 'M[R]_n), 0 <= e' <= e ->
    (forall i j, `|ln (P i j) - ln (softmax L i j)| <= e') -> forall k,
    (exists2 Q, reachable k s X Q & forall i j, `|ln (Q i j) - ln (P i j)| <= e') <->
    (\rank (centre R n *m L) <= k)%N.
Proof.
move=> n0 s0 rX; have [e e0 h] := least_size_within L n0 s0 rX; exists e => // e' P le near.
exact: h near.
Qed.

(* The same for a ratio that is given, by the test of certificates. P positive; numbers lo <= log P <= hi; A below
   C log P and A + e above it for all logarithms between these; G of r rows and V of r columns. Let alpha and beta bound
   the sums of the rows and of the columns of |I - G A V| + |G| e |V|, g and v those of the rows of |G G^T| and of
   |V^T V|, a = alpha beta, b = (n rho)^2 g v, and let a + b < 1 and 4 a b < (1 - a - b)^2. Then all that is within a
   ratio e^rho of P has log-rank at least r. If besides a head with keys of rank at most r, on the identity as tokens,
   comes within that ratio of P with its columns normalised, then r is the least size of a head that does, on all tokens of
   full column rank. [certified_gap.v] *)
Theorem certified_within (R : expField) n r (P lo hi A e : 'M[R]_n) (V : 'M_(n, r)) (G : 'M_(r, n))
    (rho alpha beta g v : R) :
  let mean (B : 'M[R]_n) j := n%:R^-1 * \sum_l B l j in
  let M i j := `|(1%:M - G *m A *m V) i j| + \sum_a \sum_b `|G i a| * e a b * `|V b j| in
  let a := alpha * beta in let b := (n%:R * rho) ^+ 2 * g * v in
  [/\ forall i j, lo i j <= ln (P i j) <= hi i j,
      forall i j, A i j <= lo i j - mean hi j /\ hi i j - mean lo j <= A i j + e i j,
      (forall i, \sum_j M i j <= alpha) /\ (forall j, \sum_i M i j <= beta),
      (forall i, \sum_j `|(G *m G^T) i j| <= g) /\ (forall i, \sum_j `|(V^T *m V) i j| <= v) &
      a + b < 1 /\ 4%:R * a * b < (1 - a - b) ^+ 2] ->
  (forall Q : 'M[R]_n, (forall i j, `|ln (Q i j) - ln (P i j)| <= rho) -> (r <= logrank Q)%N) /\
  (let near (Q : 'M[R]_n) := forall i j, `|ln (Q i j) - ln (P i j / \sum_l P l j)| <= rho in
   forall k (t : R) (Keys Queries : 'M_(k, n)), (0 < n)%N -> (forall i j, 0 < P i j) -> (\rank Keys <= r)%N ->
   near (softmax (t *: (Keys^T *m Queries))) ->
   forall d s (X : 'M_(d, n)), s != 0 -> \rank X = n ->
   forall m, (exists2 Q, reachable m s X Q & near Q) <-> (r <= m)%N).
Proof.
move=> mean M a b test; split=> [Q near | near k t K Q n0 P0 rK nKQ d s X s0 rX m].
  by apply: gap_logrank test _ _ => i j; rewrite mxE.
exact: (gap_least_size test n0 P0 rK nKQ s0 rX).
Qed.

(* The log-rank within a ratio by an approximate inverse, the other test. n + 1 tokens, lo <= log P <= hi; the logarithms
   less those of the first key, r columns of them, rows times x_i >= 0 and columns times w_b >= 0, are within e of A for
   all that is within a ratio e^rho of P. If the rows of |I - G A| + |G| e sum to less than 1, all that is within this
   ratio has log-rank at least r. [certified_gap.v] *)
Theorem certified_by_inverse (R : expField) n r (P lo hi : 'M[R]_n.+1) rho (A e : 'M[R]_(n, r)) (G : 'M_(r, n))
    (x : 'I_n -> R) (w : 'I_r -> R) (h : 'I_r -> 'I_n.+1) :
  (forall i j, lo i j <= ln (P i j) <= hi i j) -> (forall i, 0 <= x i) -> (forall b, 0 <= w b) ->
  (forall i b, let scale := x i * w b in let j := h b in let i' := lift ord0 i in
     A i b - e i b <= scale * (lo i' j - hi ord0 j - 2%:R * rho) /\
     scale * (hi i' j - lo ord0 j + 2%:R * rho) <= A i b + e i b) ->
  (forall a, \sum_b `|(1%:M - G *m A)%R a b| + \sum_i (`|G a i| * \sum_b e i b) < 1) ->
  forall Q : 'M[R]_n.+1, (forall i j, `|ln (Q i j) - ln (P i j)| <= rho) -> (r <= logrank Q)%N.
Proof. exact: enclosure_logrank. Qed.

(* The log-rank of a head by a minor. K, Q of k rows, rational, U and V their residues modulo m (p = z q modulo m for an
   entry p / q, q prime to m, with the residue z), s <> 0. The log-rank of softmax (s K^T Q) is at most k; it is at least
   r if r rows and columns of n C U^T V have a determinant prime to m. So it is k where such a minor has k rows.
   [certified_minor.v] *)
Theorem certified_head (R : expField) n k r m (s : R) (K Q : 'M[rat]_(k, n)) (U V : 'M[int]_(k, n))
    (f g : 'I_r -> 'I_n) :
  (0 < n)%N -> s != 0 -> (1 < m)%N ->
  (forall c j, coprimez (denq (K c j)) m /\ (numq (K c j) = U c j * denq (K c j) %[mod m])%Z) ->
  (forall c j, coprimez (denq (Q c j)) m /\ (numq (Q c j) = V c j * denq (Q c j) %[mod m])%Z) ->
  coprimez (\det (\matrix_(a, b) \sum_c (n%:Z * U c (f a) - \sum_l U c l) * V c (g b))) m ->
  (r <= logrank (softmax (s *: map_mx ratr (K^T *m Q))) <= k)%N.
Proof. exact: log_rank_by_minor. Qed.

(* Stationary points of full rank are exact. Keys A of n rows and rank n for n + 1 tokens, A v = 0 and 1^T v <> 0, queries
   B, Q = softmax (A^T B), and P with columns that sum to 1: if A (Q - P) = 0, as where the gradient in B of the KL
   divergence of Q from P is 0, then Q = P. [stationary.v] *)
Theorem stationary_exact (R : expField) n (A B : 'M[R]_(n, n.+1)) (v : 'cV_n.+1) (P : 'M[R]_n.+1) :
  \rank A = n -> A *m v = 0 -> \sum_i v i 0 != 0 -> (forall j, \sum_i P i j = 1) ->
  A *m (softmax (A^T *m B) - P) = 0 -> softmax (A^T *m B) = P.
Proof. exact: stationary_softmax. Qed.

(* Theorem B, any tokens. P is the context of a head of size k on X iff C log P v = 0 whenever
   X v = 0, u^T log P = 0 whenever X u = 0 and 1^T u = 0, and logrank P <= k. So whenever some head
   has P on X, the least head size is logrank P. [theorem_b_softmax.v] *)
Theorem theorem_b (R : expField) d n k (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  (0 < n)%N -> s != 0 -> stochastic P ->
  reachable k s X P <->
  [/\ kills_null_right X (logm P), kills_null_left X (logm P) & (logrank P <= k)%N].
Proof. by move=> n0 s0 sP; apply: theorem_b_softmax. Qed.

(* Theorem B for the context of a head with the logits L on X: the head sizes that have it are rank (C L) and more;
   where 1 is not in the row space of X that is rank L. [theorem_b_cases.v] *)
Theorem theorem_b_logits (R : expField) d n h (s : R) (X : 'M[R]_(d, n)) (Wk Wq : 'M_(h, d)) :
  (0 < n)%N -> s != 0 -> let L := logits s X Wk Wq in
  (forall k, reachable k s X (softmax L) <-> (\rank (centre R n *m L) <= k)%N) /\
  (~~ ((ones R n)^T <= X)%MS -> forall k, reachable k s X (softmax L) <-> (\rank L <= k)%N).
Proof.
move=> n0 s0 L; split=> [k | forced k]; first exact: least_size_of_logits.
by rewrite -(forced_gauge_rank s Wk Wq forced); apply: least_size_of_logits.
Qed.

(* B20's example, X = [1, 0]. [[1/2, 3/4], [1/2, 1/4]] is the context of no head, at any scale;
   [[3/5, 1/2], [2/5, 1/2]] is that of one of size k, at a scale s <> 0, iff k >= 1. [theorem_b_example.v] *)
Theorem b20_example (R : expField) :
  let X : 'M[R]_(1, 2) := \matrix_(i, j) (j == ord0)%:R in
  let P a b : 'M[R]_2 := \matrix_(i, j) let p := if j == ord0 then a else b in if i == ord0 then p else 1 - p in
  (forall s k, ~ reachable k s X (P (1 / 2%:R) (3%:R / 4%:R))) /\
  (forall s k, s != 0 -> reachable k s X (P (3%:R / 5%:R) (1 / 2%:R)) <-> (1 <= k)%N).
Proof. exact: example_decided. Qed.

(* Theorem C. X of full column rank, a mask that is nested when the keys are taken in the order pi,
   an anchor key that every query sees, P positive exactly on the mask: P is the masked context of
   a head of size k iff the number of new rows of log P - 1 (row anchor of log P), rows in the order
   pi, is at most k. [theorem_c_ordered.v] *)
Theorem theorem_c (R : expField) d n k (vis : 'I_n -> 'I_n -> bool) (pi : 'S_n) (anchor : 'I_n)
    (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  nested (fun i => vis (pi i)) -> (forall j, vis anchor j) -> s != 0 -> \rank X = n ->
  mstochastic vis P ->
  mreachable vis k s X P <->
  (new_rows (fun i => vis (pi i)) (row_perm pi (log_ratio anchor P)) <= k)%N.
Proof. by move=> nest seen s0 rX sP; apply: theorem_c_ordered. Qed.

(* Theorem C where some queries are dropped. The same with the new rows of the kept queries alone, if the mask
   is nested on these, all of them see the anchor, and each other query sees one key.
   [theorem_c_ordered.v] *)
Theorem theorem_c_kept (R : expField) d n k (vis : 'I_n -> 'I_n -> bool) (kept : pred 'I_n) (pi : 'S_n)
    (anchor : 'I_n) (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  nested (fun i j => kept j && vis (pi i) j) -> (forall j, kept j -> vis anchor j) ->
  (forall j, ~~ kept j -> forall i l, vis i j -> vis l j -> i = l) -> s != 0 -> \rank X = n ->
  mstochastic vis P ->
  mreachable vis k s X P <->
  (new_rows (fun i j => kept j && vis (pi i) j) (row_perm pi (log_ratio anchor P)) <= k)%N.
Proof. by move=> nest seen one s0 rX sP; apply: theorem_c_dropped. Qed.

(* The same count is a lower bound for every X and s. [theorem_c_ordered.v] *)
Theorem theorem_c_necessary (R : expField) d n k (vis : 'I_n -> 'I_n -> bool) (kept : pred 'I_n) (pi : 'S_n)
    (anchor : 'I_n) (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  nested (fun i j => kept j && vis (pi i) j) -> (forall j, kept j -> vis anchor j) ->
  mstochastic vis P -> mreachable vis k s X P ->
  (new_rows (fun i j => kept j && vis (pi i) j) (row_perm pi (log_ratio anchor P)) <= k)%N.
Proof. by move=> nest seen sP; apply: dropped_necessary. Qed.

(* Any mask, nested or not. Where the queries g(j) see all of the keys f(i), the rank of the centred block of log P
   is at most the head size, for every X and s; and a head of a size below that rank differs from P by a
   factor of more than e^e somewhere on the block, the same e > 0 for all X and s. [visible_block.v] *)
Theorem block_bound (R : expField) n a b k (vis : 'I_n -> 'I_n -> bool) (f : 'I_a -> 'I_n) (g : 'I_b -> 'I_n)
    (P : 'M[R]_n) : (0 < a)%N -> (forall i j, vis (f i) (g j)) ->
  let r := \rank (centre R a *m mxsub f g (logm P)) in
  (forall d s (X : 'M_(d, n)), mstochastic vis P -> mreachable vis k s X P -> (r <= k)%N) /\
  ((k < r)%N -> exists2 e, 0 < e & forall d s (X : 'M_(d, n)) Q, mstochastic vis Q ->
     mreachable vis k s X Q -> exists i j, e < `|ln (Q (f i) (g j)) - ln (P (f i) (g j))|).
Proof.
move=> a0 seen; split=> [d s X sP hP | lt]; first exact: visible_block hP.
exact: visible_block_distance lt.
Qed.

(* Causal masks, N = n + 1 tokens: on each line A + t `tilt` almost every context is at a positive distance from
   those of all heads of a size k < floor(N/2), the same distance for all tokens and scales.
   [visible_block.v] *)
Theorem causal_too_small (R : expField) n (A : 'M[R]_n.+1) : almost_all (fun t : R =>
  forall k, (k < (n.+1)./2)%N -> exists2 e, 0 < e &
    forall d s (X : 'M_(d, n.+1)) Q, mreachable causal k s X Q ->
      exists i j, causal i j /\ e < `|ln (Q i j) - ln (msoftmax causal (A + t *: tilt R n) i j)|).
Proof. exact: causal_distance. Qed.

(* Left padding. Before n + 1 tokens with a causal mask stand q tokens that see themselves and that no other
   query sees: the least head size is that of the causal context of the n + 1 tokens.
   [theorem_c_ordered.v] *)
Theorem left_padded (R : expField) d n k q (s : R) (X : 'M[R]_(d, q + n.+1)) (P : 'M[R]_(q + n.+1)) :
  let padded (i j : 'I_(q + n.+1)) := ((i == j) || (q <= i <= j))%N in
  s != 0 -> \rank X = (q + n.+1)%N -> mstochastic padded P ->
  mreachable padded k s X P <-> (masked_logrank causal ord0 (drsubmx P) <= k)%N.
Proof. by move=> padded s0 rX sP; apply: left_padding. Qed.

(* Any nested mask, n + 1 tokens, key 0 seen by all, K_i the queries that see key i, T = max {i : i <= |K_i|}:
   on each line A + t `tilt` almost every P needs head size T; and within any ratio e^e of any P there is the
   context of a head of size T, on X of full column rank. [theorem_c_prefix.v] *)
Theorem nested_heads (R : expField) n (vis : 'I_n.+1 -> 'I_n.+1 -> bool) :
  nested vis -> (forall j, vis ord0 j) ->
  let T := (\max_(i < n.+1 | (i <= #|[set j | vis i j]|)%N) i)%N in
  (forall A : 'M[R]_n.+1, almost_all (fun t : R =>
     masked_logrank vis ord0 (msoftmax vis (A + t *: tilt R n)) = T)) /\
  (forall d s (X : 'M[R]_(d, n.+1)) P (e : R), s != 0 -> \rank X = n.+1 -> mstochastic vis P -> 0 < e ->
     exists Q : 'M[R]_n.+1, [/\ mreachable vis T s X Q, forall i j, ~~ vis i j -> Q i j = 0 &
       forall i j, vis i j -> 0 < Q i j /\ `|ln (Q i j) - ln (P i j)| <= e]).
Proof. by move=> nest first; split=> *; [apply: nested_generic | apply: nested_dense]. Qed.

(* That size is max (floor(N/2), p - 1) for N tokens of which all see the first p <= N, and so floor(N/2)
   for causal masks (p = 0). [theorem_c_prefix.v] *)
Theorem prefix_size n p : (p <= n.+1)%N ->
  (\max_(i < n.+1 | (i <= #|[set j | @prefix p n.+1 i j]|)%N) i = maxn (n.+1)./2 p.-1)%N.
Proof. exact: prefix_count. Qed.

(* Drawn logits under any nested mask, n + 1 tokens, keys in the order pi, K_i the queries that see key i of that order,
   K_0 all, T = max {i : i <= |K_i|}. Of the logits with entries from a finite set S of numbers all but a share of
   T / |S| have a masked context whose least head size is T, on all X of full column rank. [draws_nested.v] *)
Theorem nested_draws (R : expField) n (vis : 'I_n.+1 -> 'I_n.+1 -> bool) (pi : 'S_n.+1) (S : finType)
    (v : S -> R) :
  injective v -> nested (fun i => vis (pi i)) -> (forall j, vis (pi ord0) j) ->
  let T := (\max_(i < n.+1 | (i <= #|[set j | vis (pi i) j]|)%N) i)%N in
  exists2 rare : {set 'M[S]_n.+1}, (#|rare| * #|S| <= T * #|{: 'M[S]_n.+1}|)%N &
  forall M, M \notin rare -> forall d k (s : R) (X : 'M_(d, n.+1)), s != 0 -> \rank X = n.+1 ->
    mreachable vis k s X (msoftmax vis (map_mx v M)) <-> (T <= k)%N.
Proof. exact: nested_draws. Qed.

(* Drawn logits where all of N = n + 1 tokens see the first p <= N, T = max (floor(N/2), p - 1); causal masks are
   p = 0, T = floor(N/2). Of the logits with entries from a finite set S of numbers all but a share of T / |S|
   have a masked context whose least head size is T, on all X of full column rank. [draws_nested.v] *)
Theorem prefix_draws (R : expField) n p (S : finType) (v : S -> R) : injective v -> (p <= n.+1)%N ->
  let T := maxn (n.+1)./2 p.-1 in
  exists2 rare : {set 'M[S]_n.+1}, (#|rare| * #|S| <= T * #|{: 'M[S]_n.+1}|)%N &
  forall M, M \notin rare -> forall d k (s : R) (X : 'M_(d, n.+1)), s != 0 -> \rank X = n.+1 ->
    mreachable (prefix p) k s X (msoftmax (prefix p) (map_mx v M)) <-> (T <= k)%N.
Proof. exact: prefix_draws. Qed.

(* Heads of size floor(N/2) come within any ratio e^e of any causal P on N = n + 1 tokens, X of full column rank; so of
   P proportional to e^(a I), which needs size n. [theorem_c_prefix.v] *)
Theorem causal_dense (R : expField) d n (s : R) (X : 'M[R]_(d, n.+1)) P (e : R) :
  s != 0 -> \rank X = n.+1 -> mstochastic causal P -> 0 < e ->
  exists Q : 'M[R]_n.+1, [/\ mreachable causal (n.+1)./2 s X Q, forall i j, ~~ causal i j -> Q i j = 0 &
    forall i j, causal i j -> 0 < Q i j /\ `|ln (Q i j) - ln (P i j)| <= e].
Proof. exact: causal_dense. Qed.

(* Theorem C, causal masks, n + 1 tokens: the count is that of the keys in their own order; it is
   floor((n + 1)/2) for almost every logits on each line A + t `tilt` (theorem_c_causal.v: powers
   below a zero row); it is at most n, and n for P proportional to e^(a I), a <> 0.
   [theorem_c_softmax.v, theorem_c_causal.v] *)
Theorem causal_heads (R : expField) n :
  (forall d k (s : R) (X : 'M[R]_(d, n.+1)) P, s != 0 -> \rank X = n.+1 -> mstochastic causal P ->
     mreachable causal k s X P <-> (masked_logrank causal ord0 P <= k)%N) /\
  [/\ forall A : 'M[R]_n.+1, almost_all (fun t : R =>
        masked_logrank causal ord0 (msoftmax causal (A + t *: tilt R n)) = (n.+1)./2),
      forall P : 'M[R]_n.+1, (masked_logrank causal ord0 P <= n)%N &
      forall a : R, a != 0 -> masked_logrank causal ord0 (msoftmax causal (a%:M : 'M_n.+1)) = n].
Proof.
split=> [d k s X P s0 rX sP | ]; first exact: theorem_c_causal.
split=> [A | P | a a0]; first exact: causal_generic; last by have [] := causal_worst n a0.
by have [_] := causal_worst n (oner_neq0 R); apply.
Qed.

(* B20, Theorem 2, inclusion. h heads of size r >= 1, scale 1/sqrt r, are h heads of size dp >= r,
   scale 1/sqrt dp: the same function of X, for every number n of tokens. (B20: d = h r.)
   [theorem_2_b20.v] *)
Theorem theorem_2_inclusion (R : expField) h r dp
    (Wo : 'I_h -> 'M[R]_(h * r, r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, h * r)) :
  (0 < r)%N -> (r <= dp)%N ->
  exists (Vo : 'I_h -> 'M[R]_(h * r, dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, h * r)),
  forall n (X : 'M_(h * r, n)),
    layer (temperature R dp) Vo Vv Vk Vq X = layer (temperature R r) Wo Wv Wk Wq X.
Proof. by move=> r0 rdp; apply: theorem_2_b20_inclusion. Qed.

(* The wider layer in closed form. e zero rows below keys and queries, w zero rows below the values, w zero columns
   beside the output projections, the queries times s / s' where the scale is s' instead of s: the same
   outputs on every X. [theorem_2_inclusion.v] *)
Theorem widened_layer (R : expField) d h k v e w (s s' : R) (Wo : 'I_h -> 'M_(d, v)) (Wv : 'I_h -> 'M_(v, d))
    (Wk Wq : 'I_h -> 'M_(k, d)) n (X : 'M_(d, n)) : s' != 0 ->
  layer s' (fun i => row_mx (Wo i) (0 : 'M_(d, w))) (fun i => col_mx (Wv i) (0 : 'M_(w, d)))
    (fun i => col_mx (Wk i) (0 : 'M_(e, d))) (fun i => (s / s') *: col_mx (Wq i) (0 : 'M_(e, d))) X =
  layer s Wo Wv Wk Wq X.
Proof. exact: widened_layer. Qed.

(* One token. A layer is Σ Wo_i Wv_i, whatever keys, queries, sizes and scale; so layers with the same Σ Wo_i Wv_i, of any
   numbers of heads, agree. [theorem_2_inclusion.v] *)
Theorem single_token (R : expField) d h k v h' k' v' (s s' : R)
    (Wo : 'I_h -> 'M_(d, v)) (Wv : 'I_h -> 'M_(v, d)) (Wk Wq : 'I_h -> 'M_(k, d))
    (Vo : 'I_h' -> 'M_(d, v')) (Vv : 'I_h' -> 'M_(v', d)) (Vk Vq : 'I_h' -> 'M_(k', d)) (x : 'M_(d, 1)) :
  layer s Wo Wv Wk Wq x = (\sum_i Wo i *m Wv i) *m x /\
  (\sum_i Wo i *m Wv i = \sum_i Vo i *m Vv i -> layer s Wo Wv Wk Wq x = layer s' Vo Vv Vk Vq x).
Proof. by split=> [|e]; rewrite !single_token // e. Qed.

(* B20, Theorem 2, separation. Let d = h r, r >= 1, r < dp, and let g have h heads of size dp with
   Vk_i^T Vq_i = U for all i, rank U = dp, and Σ Vo_i Vv_i of rank d. Then every layer f of h heads of
   size r differs from g on some X of n = m + 2 tokens, for every n >= 2; f has the scale 1/sqrt r,
   g has 1/sqrt dp. [theorem_2_b20.v] *)
Theorem theorem_2_separation (R : expField) h r dp m
    (Vo : 'I_h -> 'M[R]_(h * r, dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, h * r)) (U : 'M[R]_(h * r)) :
  (0 < r)%N -> (r < dp)%N -> \rank (\sum_i Vo i *m Vv i)%R = (h * r)%N ->
  (forall i, (Vk i)^T *m Vq i = U) -> \rank U = dp ->
  forall (Wo : 'I_h -> 'M[R]_(h * r, r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, h * r)),
  exists X : 'M_(h * r, m.+2),
    layer (temperature R r) Wo Wv Wk Wq X <> layer (temperature R dp) Vo Vv Vk Vq X.
Proof. by move=> r0 rdp rA hU rU; apply: theorem_2_b20_separation rA hU rU. Qed.

(* B20, Theorem 2, the two sets differ: such a g exists whenever r < dp <= d, one for all lengths.
   [theorem_2_b20.v] *)
Theorem theorem_2_witness (R : expField) h r dp : (0 < r)%N -> (r < dp)%N -> (dp <= h * r)%N ->
  exists (Vo : 'I_h -> 'M[R]_(h * r, dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, h * r)),
  forall m (Wo : 'I_h -> 'M[R]_(h * r, r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, h * r)),
  exists X : 'M_(h * r, m.+2),
    layer (temperature R r) Wo Wv Wk Wq X <> layer (temperature R dp) Vo Vv Vk Vq X.
Proof. by move=> r0 rdp dpd; apply: theorem_2_b20_witness. Qed.

(* B20, Theorem 2, as printed: MultiHead(X) = Wo Concat(head_1, ..., head_h), the heads stacked by \mxcol. Heads
   of size r are heads of size dp >= r; and if Vo [Vv_1; ...; Vv_h] has rank d = h r and the Vk_i^T Vq_i are one
   matrix of rank dp > r, each layer of heads of size r differs from it on some n tokens, for each
   n = m + 2 >= 2. [theorem_2_concat.v] *)
Theorem theorem_2_printed (R : expField) h r dp : (0 < r)%N ->
  ((r <= dp)%N ->
   forall (Wo : 'M[R]_(h * r, \sum_(i < h) r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, h * r)),
   exists (Vo : 'M[R]_(h * r, \sum_(i < h) dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, h * r)),
   forall n (X : 'M_(h * r, n)),
     Vo *m (\mxcol_i (Vv i *m X *m context (temperature R dp) X (Vk i) (Vq i))) =
     Wo *m (\mxcol_i (Wv i *m X *m context (temperature R r) X (Wk i) (Wq i)))) /\
  ((r < dp)%N -> forall m (Vo : 'M[R]_(h * r, \sum_(i < h) dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, h * r)) U,
   \rank (Vo *m (\mxcol_i Vv i))%R = (h * r)%N -> (forall i, (Vk i)^T *m Vq i = U) -> \rank U = dp ->
   forall (Wo : 'M[R]_(h * r, \sum_(i < h) r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, h * r)),
   exists X : 'M_(h * r, m.+2),
     Wo *m (\mxcol_i (Wv i *m X *m context (temperature R r) X (Wk i) (Wq i))) <>
     Vo *m (\mxcol_i (Vv i *m X *m context (temperature R dp) X (Vk i) (Vq i)))).
Proof.
move=> r0; split=> [rdp Wo Wv Wk Wq | rdp m Vo Vv Vk Vq U rA hU rU]; first exact: concat_inclusion.
exact: concat_separation rA hU rU.
Qed.

(* Weights of a layer of h heads with keys and queries of size k, values of size v: 2 h d (k + v); so 4 d^2 for
   k = v = d / h, and 4 d dp h for k = v = dp. [theorem_2_concat.v] *)
Theorem parameters_of_a_layer d h k v :
  (\sum_(i < h) (d * v + v * d + k * d + k * d) = 2 * h * d * (k + v))%N.
Proof. exact: parameter_count. Qed.

(* Refuted: "a context of a head of size k has rank at most k". A head of size 1 has one of rank n,
   at every scale s <> 0, on X = I. [folklore.v] *)
Theorem folklore (R : expField) n (s : R) : s != 0 ->
  exists Wk Wq : 'M[R]_(1, n), \rank (context s 1%:M Wk Wq) = n.
Proof. exact: folklore_refuted. Qed.

(* Any tokens under any mask. P positive exactly on the mask is the context of a head on X, of
   some size, iff <W, log P> = 0 for every W that is 0 off the mask with 1^T W = 0 and X W X^T = 0.
   [any_tokens_any_mask.v] *)
Theorem any_tokens (R : expField) d n (vis : 'I_n -> 'I_n -> bool) (s : R) (X : 'M[R]_(d, n)) P :
  s != 0 -> mstochastic vis P ->
  (exists k, mreachable vis k s X P) <->
  (forall W : 'M_n, (forall i j, ~~ vis i j -> W i j = 0) -> (ones R n)^T *m W = 0 ->
     X *m W *m X^T = 0 -> \sum_i \sum_(j | vis i j) W i j * ln (P i j) = 0).
Proof. by move=> s0 sP; apply: (any_tokens_softmax X s0 sP). Qed.

(* ... and a head that comes within a factor e^rho of P on the mask exists only if |<W, log P>| <= rho |W|_1 for
   each of these W. [any_tokens_any_mask.v] *)
Theorem any_tokens_within (R : expField) d n k (vis : 'I_n -> 'I_n -> bool) (s : R) (X : 'M[R]_(d, n)) P Q
    (rho : R) (W : 'M_n) :
  s != 0 -> mstochastic vis Q -> mreachable vis k s X Q ->
  (forall i j, vis i j -> `|ln (Q i j) - ln (P i j)| <= rho) ->
  (forall i j, ~~ vis i j -> W i j = 0) -> (ones R n)^T *m W = 0 -> X *m W *m X^T = 0 ->
  `|\sum_i \sum_(j | vis i j) W i j * ln (P i j)| <= rho * \sum_i \sum_j `|W i j|.
Proof. by move=> s0 sQ hQ near Wv W1 WX; apply: (any_tokens_near s0 sQ hQ near Wv W1 WX). Qed.

(* One missing dimension, d = n - 1 (here n + 1 tokens in dimension n). The tokens have rank n and one relation
   X u = 0, no u_i is 0, the sum of u is not 0: heads of size n have every causal context on X.
   [causal_one_missing.v] *)
Theorem causal_forgives_one (R : expField) n (s : R) (X : 'M[R]_(n, n.+1)) (u : 'cV_n.+1) P :
  s != 0 -> \rank X = n -> X *m u = 0 -> (forall i, u i 0 != 0) -> \sum_i u i 0 != 0 ->
  mstochastic causal P -> mreachable causal n s X P.
Proof. by move=> s0 rX Xu u0 su sP; apply: causal_one_missing_softmax Xu u0 su sP. Qed.

(* No more than one missing dimension. If n + 1 tokens are dependent once a 1 is appended to each, as they are when their
   rank is below n, then in some direction of the last query almost every logits A + t E have a causal
   context that no head of any size and scale has on X. So on tokens as in the theorem before, but with any
   sum of u, heads have every causal context iff that sum is not 0. [causal_two_missing.v] *)
Theorem causal_forgives_no_more (R : expField) d n (X : 'M[R]_(d, n.+1)) :
  [/\ (\rank X + 2 <= n.+1)%N -> (\rank (col_mx X (ones R n.+1)^T) <= n)%N,
      (\rank (col_mx X (ones R n.+1)^T) <= n)%N -> exists i : 'I_n.+1, forall A : 'M[R]_n.+1,
        almost_all (fun t : R => forall k s,
          ~ mreachable causal k s X (msoftmax causal (A + t *: delta_mx i ord_max))) &
      forall s (Y : 'M[R]_(n, n.+1)) (u : 'cV_n.+1), s != 0 -> \rank Y = n -> Y *m u = 0 ->
        (forall i, u i 0 != 0) ->
        (forall P, mstochastic causal P -> exists k, mreachable causal k s Y P) <-> \sum_i u i 0 != 0].
Proof.
split; [exact: two_missing | exact: causal_dependent | move=> s Y u].
exact: causal_all_iff.
Qed.

(* Selecting sets of keys. n keys in r dimensions, such that for every set of at most q of them some query gives each key in
   the set a larger score than each other key, exist iff r >= min(2 q, n - 1). [selecting_sets.v] *)
Theorem sets_of_keys (R : realFieldType) r n q :
  (exists K : 'M[R]_(r, n), forall S : {set 'I_n}, (#|S| <= q)%N -> exists w : 'rV_r,
     forall i j, i \in S -> j \notin S -> (w *m K) 0 j < (w *m K) 0 i) <->
  (minn (2 * q) n.-1 <= r)%N.
Proof. exact: selecting_sets. Qed.

(* Heads of size 1. Without a mask at most two keys are the strict favourite of a query. Under a
   causal mask "c tokens back" (query j >= c strictly prefers key j - c among the keys i <= j) is
   impossible for c >= 2 and n >= c + 3; on X of full column rank it is possible for c = 1, and for
   c >= 1 and n <= c + 2. [head_size_one.v] *)
Theorem heads_of_size_one (R : expField) d n (s : R) (X : 'M[R]_(d, n)) :
  [/\ forall (Wk Wq : 'M_(1, d)) (S : {set 'I_n}),
        (forall t, t \in S -> exists j, forall i, i != t ->
           logits s X Wk Wq i j < logits s X Wk Wq t j) -> (#|S| <= 2)%N,
      forall c (Wk Wq : 'M_(1, d)), (2 <= c)%N -> (c + 3 <= n)%N -> ~ head_looks_back s X c Wk Wq &
      forall c, s != 0 -> \rank X = n -> (c = 1 \/ 0 < c /\ n <= c + 2)%N ->
        exists Wk Wq : 'M_(1, d), head_looks_back s X c Wk Wq].
Proof.
by split; [apply: head_two_winners | move=> c Wk Wq; apply: head_looks_back_impossible | move=> c; apply: head_looks_back_possible].
Qed.

(* Layer norm with gain g and shift b on n tokens of dimension d + 1: the log-rank is at most d,
   whatever the head size. [layer_norm.v] *)
Theorem after_layer_norm (R : expField) d n k (s : R) (g : 'rV_d.+1) (b : 'cV_d.+1) (Z : 'M_(d.+1, n)) P :
  (0 < n)%N -> (ones R d.+1)^T *m Z = 0 ->
  reachable k s (diag_mx g *m Z + b *m (ones R n)^T)%R P -> (logrank P <= d)%N.
Proof. by move=> n0 Z0 [Wk [Wq <-]]; apply: layer_norm_logrank. Qed.

(* Section 6, what keeps the bound. Any keys and queries of k rows (RoPE, QK-norm, temperatures) have a log-rank
   of at most k; a bias on the keys changes nothing; heads that share their keys have the P_a together, X of
   full column rank, iff the C log P_a have columns in one space of dimension k; causal ALiBi adds at most 1.
   [variants.v] *)
Theorem variants_within (R : expField) n :
  [/\ forall k (K Q : 'M[R]_(k, n)), (0 < n)%N -> (logrank (softmax (K^T *m Q)) <= k)%N,
      forall k (K Q : 'M[R]_(k, n)) (b : 'cV_k),
        softmax ((K + b *m (ones R n)^T)^T *m Q) = softmax (K^T *m Q),
      forall d g k s (X : 'M[R]_(d, n)) (P : 'I_g -> 'M_n), (0 < n)%N -> s != 0 -> \rank X = n ->
        (forall a, stochastic (P a)) ->
        (exists (Wk : 'M_(k, d)) (Wq : 'I_g -> 'M_(k, d)), forall a, context s X Wk (Wq a) = P a) <->
        (\rank (\sum_a <<(centre R n *m logm (P a))^T>>)%MS <= k)%N &
      forall k (K Q : 'M[R]_(k, n.+1)) (m : R), (masked_logrank causal ord0 (msoftmax causal
        (\matrix_(i, j) ((K^T *m Q) i j - m * `|i%:R - j%:R|)%R)) <= k.+1)%N].
Proof.
split=> [k K Q n0 | k K Q b | d g k s X P n0 | k K Q m]; [exact: factors_bound | exact: key_bias | | exact: alibi_causal].
exact: shared_keys.
Qed.

(* Section 6, what breaks it. A known bias B: P = softmax(logits + B) iff rank C (log P - B) <= k. Logits mixed with
   weights a_i <> 0 before the softmax: h heads of size k have P iff logrank P <= h k (X of full column
   rank). ALiBi without a mask, -m |i - j|, m <> 0, has log-rank n - 1 by itself; tables of relative biases
   b(i - j), as in T5, have any log-rank r <= n - 1. [variants_logits.v] *)
Theorem variants_beyond (R : expField) n : (0 < n)%N ->
  [/\ forall d k s (X : 'M[R]_(d, n)) (B P : 'M[R]_n), s != 0 -> \rank X = n -> stochastic P ->
        (exists Wk Wq : 'M_(k, d), softmax (logits s X Wk Wq + B)%R = P) <->
        (\rank (centre R n *m (logm P - B)%R) <= k)%N,
      forall d h k s (a : 'I_h -> R) (X : 'M[R]_(d, n)) (P : 'M[R]_n),
        s != 0 -> (forall i, a i != 0) -> \rank X = n -> stochastic P ->
        (exists Wk Wq : 'I_h -> 'M_(k, d), softmax (\sum_i a i *: logits s X (Wk i) (Wq i)) = P) <->
        (logrank P <= h * k)%N,
      forall m : R, m != 0 ->
        logrank (softmax (- m *: \matrix_(i < n, j < n) `|i%:R - j%:R|)%R) = n.-1 &
      forall r, (r < n)%N -> exists b : int -> R,
        logrank (softmax (\matrix_(i < n, j < n) b (i%:Z - j%:Z))) = r].
Proof.
move=> n0; split=> [d k s X B P | d h k s a X P | m | ]; [exact: known_bias_iff | exact: talking_heads | | ].
  exact: alibi_bidirectional.
exact: relative_tables.
Qed.
