(* The real numbers have an exponential, so the headline theorems hold over them. R : realType is any model of
   the real numbers, sequences.expR the sum of the exponential series. Only this file and those around it in
   _CoqProject, real_exponential.v to main_measure.v and three of sanity/, need mathcomp-analysis, and its three
   classical axioms. *)
From mathcomp Require Import all_ssreflect fingroup perm all_algebra.
From mathcomp Require Import reals sequences exp.
From rankbound Require Import model exponential log_rank softmax_gauge theorem_a main real_exponential model_measure.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

(* The headline theorems over the reals, every definition of model.v unfolded: what stands below is
   mathcomp's and mathcomp-analysis's alone, with these abbreviations. *)
Local Notation exp := sequences.expR.
Local Notation log P := (map_mx (@exp.ln _) P).
Local Notation softmax L := (\matrix_(i, j) (exp (L i j) / \sum_l exp (L l j))).
Local Notation logits s X Wk Wq := (s *: ((Wk *m X)^T *m (Wq *m X))).
Local Notation context s X Wk Wq := (softmax (logits s X Wk Wq)).
Local Notation ones R n := (const_mx 1 : 'M[R]_(n, 1)).
Local Notation centre R n := (1%:M - n%:R^-1 *: (ones R n *m (ones R n)^T) : 'M[R]_n).
Local Notation finitely_many_but Q := (exists exceptions : seq _, forall t, t \notin exceptions -> Q t).
Local Notation masked_softmax vis L :=
  (\matrix_(i, j) if vis i j then exp (L i j) / \sum_(l | vis l j) exp (L l j) else 0).
Local Notation cut R vis i := (diag_mx (\row_j (vis i j)%:R) : 'M[R]_(_, _)).
Local Notation new_rows R n vis D :=
  (\sum_i ~~ (row i D%R *m cut R vis i <= (pid_mx i : 'M[R]_n) *m D%R *m cut R vis i)%MS)%N.
Local Notation layer s Wo Wv Wk Wq X := (\sum_i Wo i *m Wv i *m X *m context s X (Wk i) (Wq i)).
Local Notation temperature k := (Num.sqrt k%:R)^-1.

(* Lemma 1 *)
Theorem real_lemma_1 (R : realType) m n (L L' : 'M[R]_(m, n)) :
  softmax L = softmax L' <-> exists c : 'rV_n, L - L' = ones R m *m c.
Proof. exact: (@main.lemma_1 (realExp R)). Qed.

(* Theorem A *)
Theorem real_theorem_a (R : realType) d n k (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  (0 < n)%N -> s != 0 -> \rank X = n -> (forall i j, 0 < P i j) -> (forall j, \sum_i P i j = 1) ->
  (exists Wk Wq : 'M_(k, d), context s X Wk Wq = P) <-> (\rank (centre R n *m log P) <= k)%N.
Proof. by move=> n0 s0 rX P0 P1; apply: (@main.theorem_a (realExp R)). Qed.

(* its necessity, for every X and s *)
Theorem real_necessary (R : realType) d n k (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  (0 < n)%N -> (forall i j, 0 < P i j) -> (forall j, \sum_i P i j = 1) ->
  (exists Wk Wq : 'M_(k, d), context s X Wk Wq = P) -> (\rank (centre R n *m log P) <= k)%N.
Proof. by move=> n0 P0 P1; apply: (@main.necessary (realExp R)). Qed.

(* the sharp threshold n - 1 *)
Theorem real_sharp (R : realType) n : (0 < n)%N ->
  (forall d k (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n), s != 0 -> \rank X = n ->
     (forall i j, 0 < P i j) /\ (forall j, \sum_i P i j = 1) ->
     (n.-1 <= k)%N -> exists Wk Wq : 'M_(k, d), context s X Wk Wq = P) /\
  (forall d k (s a : R) (X : 'M[R]_(d, n)), a != 0 ->
     (exists Wk Wq : 'M_(k, d), context s X Wk Wq = softmax (a%:M : 'M_n)) -> (n.-1 <= k)%N).
Proof. exact: (@main.sharp (realExp R)). Qed.

(* B20, Theorem 1, first half *)
Theorem real_theorem_1_first (R : realType) d n (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  (0 < n)%N -> s != 0 -> \rank X = n -> (forall i j, 0 < P i j) -> (forall j, \sum_i P i j = 1) ->
  exists Wk Wq : 'M_(d, d), context s X Wk Wq = P.
Proof. by move=> n0 s0 rX P0 P1; apply: (@main.theorem_1_first (realExp R)). Qed.

Theorem real_theorem_1_exact (R : realType) d n :
  (forall (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n),
     (0 < n)%N -> s != 0 -> \rank X = n -> (forall i j, 0 < P i j) /\ (forall j, \sum_i P i j = 1) ->
     exists Wk Wq : 'M[R]_d, logits s X Wk Wq = centre R n *m log P /\ context s X Wk Wq = P) /\
  (forall (X : 'M[rat]_(d, n)) (M : 'M[rat]_n), (0 < n)%N -> \rank X = n ->
     exists Wk Wq : 'M[rat]_d, (Wk *m X)^T *m (Wq *m X) = centre rat_fieldType n *m M /\
       context 1 (map_mx ratr X) (map_mx ratr Wk) (map_mx ratr Wq) = softmax (map_mx (@ratr R) M)).
Proof.
by split; [have [_ h _] := main.theorem_1_exact; exact: (h (realExp R)) | have [_ _ h] := main.theorem_1_exact; exact: (h (realExp R))].
Qed.

(* B20, Theorem 1, second half *)
Theorem real_theorem_1_second (R : realType) d n (X : 'M[R]_(d, n)) : (1 < n)%N -> (\rank X < n)%N ->
  exists2 P : 'M[R]_n, (forall i j, 0 < P i j) /\ (forall j, \sum_i P i j = 1) &
  forall (s : R) k, ~ exists Wk Wq : 'M_(k, d), context s X Wk Wq = P.
Proof. exact: (@main.theorem_1_second (realExp R)). Qed.

Theorem real_theorem_1_second_lines (R : realType) d n (X : 'M[R]_(d, n)) : (1 < n)%N -> (\rank X < n)%N ->
  (exists i j : 'I_n, forall A : 'M[R]_n, finitely_many_but (fun t : R => forall (s : R) k,
     ~ exists Wk Wq : 'M_(k, d), context s X Wk Wq = softmax (A + t *: delta_mx i j)%R)) /\
  (forall (P : 'M[R]_n) (e : R), (forall i j, 0 < P i j) /\ (forall j, \sum_i P i j = 1) -> 0 < e ->
     exists Q : 'M[R]_n, [/\ (forall i j, 0 < Q i j) /\ (forall j, \sum_i Q i j = 1),
       forall i j, `|exp.ln (Q i j) - exp.ln (P i j)| <= e &
       forall (s : R) k, ~ exists Wk Wq : 'M_(k, d), context s X Wk Wq = Q]).
Proof. exact: (@main.theorem_1_second_lines (realExp R)). Qed.

Theorem real_deficient_draws (R : realType) d n (X : 'M[R]_(d, n)) (S : finType) (v : S -> R) :
  injective v -> (1 < n)%N -> (\rank X < n)%N ->
  exists2 rare : {set 'M[S]_n}, (#|rare| * #|S| <= #|{: 'M[S]_n}|)%N &
  forall M, M \notin rare -> forall (s : R) k,
    ~ exists Wk Wq : 'M_(k, d), context s X Wk Wq = softmax (map_mx v M).
Proof. exact: (@main.deficient_draws (realExp R)). Qed.

(* a zero token, and the KL divergence of every head *)
Theorem real_zero_token_kl (R : realType) d n k (s : R) (X : 'M[R]_(d, n)) (P Q : 'M[R]_n) (j : 'I_n) :
  col j X = 0 -> (forall i j, 0 < P i j) /\ (forall j, \sum_i P i j = 1) ->
  (exists Wk Wq : 'M_(k, d), context s X Wk Wq = Q) ->
  n%:R^-1 * (\sum_i P i j * (exp.ln (P i j) - exp.ln (n%:R^-1))) <=
  n%:R^-1 * (\sum_l \sum_i P i l * (exp.ln (P i l) - exp.ln (Q i l))).
Proof. exact: (@main.zero_token_kl (realExp R) d n k s X P Q j (@real_expR_ge R)). Qed.

(* almost every P needs head size n - 1 *)
Theorem real_almost_every (R : realType) n : (0 < n)%N ->
  (forall A : 'M[R]_n, finitely_many_but (fun t : R =>
     \rank (centre R n *m log (softmax (A + t%:M)%R)) = n.-1)) /\
  (forall (P : 'M[R]_n) (e : R), (forall i j, 0 < P i j) /\ (forall j, \sum_i P i j = 1) -> 0 < e ->
     exists Q : 'M[R]_n, [/\ (forall i j, 0 < Q i j) /\ (forall j, \sum_i Q i j = 1),
       forall i j, `|exp.ln (Q i j) - exp.ln (P i j)| <= e &
       forall d k (s : R) (X : 'M_(d, n)),
         (exists Wk Wq : 'M_(k, d), context s X Wk Wq = Q) -> (n.-1 <= k)%N]).
Proof. exact: (@main.almost_every (realExp R)). Qed.

Theorem real_full_draws (R : realType) n (S : finType) (v : S -> R) : injective v -> (0 < n)%N ->
  exists2 rare : {set 'M[S]_n}, (#|rare| * #|S| <= n.-1 * #|{: 'M[S]_n}|)%N &
  forall M, M \notin rare -> let P : 'M[R]_n := softmax (map_mx v M) in
    \rank (centre R n *m log P) = n.-1 /\
    forall d k (s : R) (X : 'M_(d, n)), (exists Wk Wq : 'M_(k, d), context s X Wk Wq = P) -> (n.-1 <= k)%N.
Proof. exact: (@main.full_draws (realExp R)). Qed.

Theorem real_full_laws (R : realType) n (S : finType) (v : S -> R) (w : 'I_n -> 'I_n -> S -> R) (e : R) :
  injective v -> (0 < n)%N -> (forall i j x, 0 <= w i j x <= e) -> (forall i j, \sum_x w i j x = 1) ->
  \sum_(M : 'M[S]_n | \rank (centre R n *m log ((softmax (map_mx v M)) : 'M[R]_n)) != n.-1)
    \prod_i \prod_j w i j (M i j) <= n.-1%:R * e.
Proof. exact: (@main.full_laws (realExp R)). Qed.

(* too small a head stays away *)
Theorem real_too_small (R : realType) n (P : 'M[R]_n) :
  (forall i j, 0 < P i j) /\ (forall j, \sum_i P i j = 1) ->
  let size (Q : 'M[R]_n) := \rank (centre R n *m log Q) in
  (exists2 e : R, 0 < e & forall Q : 'M[R]_n, (forall i j, `|Q i j - P i j| <= e) -> (size P <= size Q)%N) /\
  (forall k, (k < size P)%N -> exists2 e : R, 0 < e &
     forall d (s : R) (X : 'M_(d, n)) (Q : 'M[R]_n), (exists Wk Wq : 'M_(k, d), context s X Wk Wq = Q) ->
       exists i j, e < `|Q i j - P i j|).
Proof. exact: (@main.too_small (realExp R)). Qed.

(* the least size within a ratio *)
Theorem real_least_size_within (R : realType) d n (s : R) (X : 'M[R]_(d, n)) (L : 'M[R]_n) :
  (0 < n)%N -> s != 0 -> \rank X = n ->
  exists2 e : R, 0 < e & forall (e' : R) (P : 'M[R]_n), 0 <= e' <= e ->
    (forall i j, `|exp.ln (P i j) - exp.ln ((softmax L : 'M[R]_n) i j)| <= e') -> forall k,
    (exists2 Q : 'M[R]_n, (exists Wk Wq : 'M_(k, d), context s X Wk Wq = Q) &
       forall i j, `|exp.ln (Q i j) - exp.ln (P i j)| <= e') <->
    (\rank (centre R n *m L) <= k)%N.
Proof. exact: (@main.least_size_within (realExp R)). Qed.

(* the least size within a ratio that is given, and the log-rank of a head, by the tests of certificates *)
Theorem real_certified_within (R : realType) n r (P lo hi A e : 'M[R]_n) (V : 'M_(n, r)) (G : 'M_(r, n))
    (rho alpha beta g v : R) :
  let mean (B : 'M[R]_n) j := n%:R^-1 * \sum_l B l j in
  let M i j := `|(1%:M - G *m A *m V)%R i j| + \sum_a \sum_b `|G i a| * e a b * `|V b j| in
  let a := alpha * beta in let b := (n%:R * rho) ^+ 2 * g * v in
  [/\ forall i j, lo i j <= exp.ln (P i j) <= hi i j,
      forall i j, A i j <= lo i j - mean hi j /\ hi i j - mean lo j <= A i j + e i j,
      (forall i, \sum_j M i j <= alpha) /\ (forall j, \sum_i M i j <= beta),
      (forall i, \sum_j `|(G *m G^T) i j| <= g) /\ (forall i, \sum_j `|(V^T *m V) i j| <= v) &
      a + b < 1 /\ 4%:R * a * b < (1 - a - b) ^+ 2] ->
  (forall Q : 'M[R]_n, (forall i j, `|exp.ln (Q i j) - exp.ln (P i j)| <= rho) ->
     (r <= \rank (centre R n *m log Q))%N) /\
  (let near (Q : 'M[R]_n) := forall i j, `|exp.ln (Q i j) - exp.ln (P i j / \sum_l P l j)| <= rho in
   forall k (t : R) (Keys Queries : 'M_(k, n)), (0 < n)%N -> (forall i j, 0 < P i j) -> (\rank Keys <= r)%N ->
   near (softmax ((t *: (Keys^T *m Queries)) : 'M[R]_n)) ->
   forall d (s : R) (X : 'M_(d, n)), s != 0 -> \rank X = n ->
   forall m, (exists2 Q : 'M[R]_n, (exists Wk Wq : 'M_(m, d), context s X Wk Wq = Q) & near Q) <-> (r <= m)%N).
Proof. exact: (@main.certified_within (realExp R)). Qed.

Theorem real_certified_by_inverse (R : realType) n r (P lo hi : 'M[R]_n.+1) (rho : R) (A e : 'M[R]_(n, r)) (G : 'M_(r, n))
    (x : 'I_n -> R) (w : 'I_r -> R) (h : 'I_r -> 'I_n.+1) :
  (forall i j, lo i j <= exp.ln (P i j) <= hi i j) -> (forall i, 0 <= x i) -> (forall b, 0 <= w b) ->
  (forall i b, let scale := x i * w b in let j := h b in let i' := lift ord0 i in
     A i b - e i b <= scale * (lo i' j - hi ord0 j - 2%:R * rho) /\
     scale * (hi i' j - lo ord0 j + 2%:R * rho) <= A i b + e i b) ->
  (forall a, \sum_b `|(1%:M - G *m A)%R a b| + \sum_i (`|G a i| * \sum_b e i b) < 1) ->
  forall Q : 'M[R]_n.+1, (forall i j, `|exp.ln (Q i j) - exp.ln (P i j)| <= rho) ->
    (r <= \rank (centre R n.+1 *m log Q))%N.
Proof. exact: (@main.certified_by_inverse (realExp R)). Qed.

Theorem real_certified_head (R : realType) n k r m (s : R) (K Q : 'M[rat]_(k, n)) (U V : 'M[int]_(k, n))
    (f g : 'I_r -> 'I_n) :
  (0 < n)%N -> s != 0 -> (1 < m)%N ->
  (forall c j, coprimez (denq (K c j)) m /\ (numq (K c j) = U c j * denq (K c j) %[mod m])%Z) ->
  (forall c j, coprimez (denq (Q c j)) m /\ (numq (Q c j) = V c j * denq (Q c j) %[mod m])%Z) ->
  coprimez (\det (\matrix_(a, b) \sum_c (n%:Z * U c (f a) - \sum_l U c l) * V c (g b))) m ->
  let L : 'M[R]_n := s *: map_mx ratr (K^T *m Q) in
  (r <= \rank (centre R n *m log ((softmax L) : 'M[R]_n)) <= k)%N.
Proof. exact: (@main.certified_head (realExp R)). Qed.

(* stationary points of full rank *)
Theorem real_stationary_exact (R : realType) n (A B : 'M[R]_(n, n.+1)) (v : 'cV_n.+1) (P : 'M[R]_n.+1) :
  \rank A = n -> A *m v = 0 -> \sum_i v i 0 != 0 -> (forall j, \sum_i P i j = 1) ->
  A *m (softmax ((A^T *m B) : 'M[R]_n.+1) - P)%R = 0 -> softmax ((A^T *m B) : 'M[R]_n.+1) = P.
Proof. exact: (@main.stationary_exact (realExp R)). Qed.

(* Theorem B *)
Theorem real_theorem_b (R : realType) d n k (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  (0 < n)%N -> s != 0 -> (forall i j, 0 < P i j) -> (forall j, \sum_i P i j = 1) ->
  (exists Wk Wq : 'M_(k, d), context s X Wk Wq = P) <->
  [/\ forall v : 'cV_n, X *m v = 0 -> centre R n *m log P *m v = 0,
      forall u : 'cV_n, X *m u = 0 -> (ones R n)^T *m u = 0 -> u^T *m log P = 0 &
      (\rank (centre R n *m log P) <= k)%N].
Proof. by move=> n0 s0 P0 P1; apply: (@main.theorem_b (realExp R)). Qed.

Theorem real_theorem_b_logits (R : realType) d n h (s : R) (X : 'M[R]_(d, n)) (Wk Wq : 'M_(h, d)) :
  (0 < n)%N -> s != 0 -> let L : 'M[R]_n := logits s X Wk Wq in
  (forall k, (exists Vk Vq : 'M_(k, d), context s X Vk Vq = softmax L) <->
     (\rank (centre R n *m L) <= k)%N) /\
  (~~ ((ones R n)^T <= X)%MS -> forall k,
     (exists Vk Vq : 'M_(k, d), context s X Vk Vq = softmax L) <-> (\rank L <= k)%N).
Proof. exact: (@main.theorem_b_logits (realExp R)). Qed.

(* B20's example *)
Theorem real_b20_example (R : realType) :
  let X : 'M[R]_(1, 2) := \matrix_(i, j) (j == ord0)%:R in
  let P a b : 'M[R]_2 := \matrix_(i, j) let p := if j == ord0 then a else b in if i == ord0 then p else 1 - p in
  (forall (s : R) k, ~ exists Wk Wq : 'M_(k, 1), context s X Wk Wq = P (1 / 2%:R) (3%:R / 4%:R)) /\
  (forall (s : R) k, s != 0 ->
     (exists Wk Wq : 'M_(k, 1), context s X Wk Wq = P (3%:R / 5%:R) (1 / 2%:R)) <-> (1 <= k)%N).
Proof. exact: (@main.b20_example (realExp R)). Qed.

(* Theorem C *)
Theorem real_theorem_c (R : realType) d n k (vis : 'I_n -> 'I_n -> bool) (pi : 'S_n) (anchor : 'I_n)
    (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  (forall (i l : 'I_n) j, (l <= i)%N -> vis (pi i) j -> vis (pi l) j) -> (forall j, vis anchor j) ->
  s != 0 -> \rank X = n ->
  [/\ forall i j, vis i j -> 0 < P i j, forall i j, ~~ vis i j -> P i j = 0 & forall j, \sum_i P i j = 1] ->
  (exists Wk Wq : 'M_(k, d), masked_softmax vis (logits s X Wk Wq) = P) <->
  (new_rows R n (fun i => vis (pi i))
     (row_perm pi (\matrix_(i, j) (exp.ln (P i j) - exp.ln (P anchor j)))) <= k)%N.
Proof. exact: (@main.theorem_c (realExp R)). Qed.

(* Theorem C where queries that see one key are dropped; left padding *)
Theorem real_theorem_c_kept (R : realType) d n k (vis : 'I_n -> 'I_n -> bool) (kept : pred 'I_n) (pi : 'S_n)
    (anchor : 'I_n) (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  let seen i j := kept j && vis (pi i) j in
  (forall (i l : 'I_n) j, (l <= i)%N -> seen i j -> seen l j) -> (forall j, kept j -> vis anchor j) ->
  (forall j, ~~ kept j -> forall i l, vis i j -> vis l j -> i = l) -> s != 0 -> \rank X = n ->
  [/\ forall i j, vis i j -> 0 < P i j, forall i j, ~~ vis i j -> P i j = 0 & forall j, \sum_i P i j = 1] ->
  (exists Wk Wq : 'M_(k, d), masked_softmax vis (logits s X Wk Wq) = P) <->
  (new_rows R n seen (row_perm pi (\matrix_(i, j) (exp.ln (P i j) - exp.ln (P anchor j)))) <= k)%N.
Proof. exact: (@main.theorem_c_kept (realExp R)). Qed.

Theorem real_left_padded (R : realType) d n k q (s : R) (X : 'M[R]_(d, q + n.+1)) (P : 'M[R]_(q + n.+1)) :
  let padded (i j : 'I_(q + n.+1)) := ((i == j) || (q <= i <= j))%N in
  let T : 'M[R]_n.+1 := drsubmx P in
  s != 0 -> \rank X = (q + n.+1)%N ->
  [/\ forall i j, padded i j -> 0 < P i j, forall i j, ~~ padded i j -> P i j = 0 & forall j, \sum_i P i j = 1] ->
  (exists Wk Wq : 'M_(k, d), masked_softmax padded (logits s X Wk Wq) = P) <->
  (new_rows R n.+1 (fun i j : 'I_n.+1 => i <= j)%N
     (\matrix_(i, j) (exp.ln (T i j) - exp.ln (T ord0 j))) <= k)%N.
Proof. exact: (@main.left_padded (realExp R)). Qed.

(* causal heads below floor(N/2) *)
Theorem real_causal_too_small (R : realType) n (A : 'M[R]_n.+1) :
  let causal (i j : 'I_n.+1) := (i <= j)%N in
  finitely_many_but (fun t : R =>
    let P : 'M[R]_n.+1 :=
      masked_softmax causal (A + t *: \matrix_(i, j) (if i == ord0 then 0 else j%:R ^+ i.-1))%R in
    forall k, (k < (n.+1)./2)%N -> exists2 e : R, 0 < e &
      forall d (s : R) (X : 'M_(d, n.+1)) (Q : 'M[R]_n.+1),
        (exists Wk Wq : 'M_(k, d), masked_softmax causal (logits s X Wk Wq) = Q) ->
        exists i j, causal i j /\ e < `|exp.ln (Q i j) - exp.ln (P i j)|).
Proof. exact: (@main.causal_too_small (realExp R)). Qed.

(* any nested mask: almost every P, and a dense set *)
Theorem real_nested_heads (R : realType) n (vis : 'I_n.+1 -> 'I_n.+1 -> bool) :
  (forall (i l : 'I_n.+1) j, (l <= i)%N -> vis i j -> vis l j) -> (forall j, vis ord0 j) ->
  let T := (\max_(i < n.+1 | (i <= #|[set j | vis i j]|)%N) i)%N in
  (forall A : 'M[R]_n.+1, finitely_many_but (fun t : R =>
     let P : 'M[R]_n.+1 :=
       masked_softmax vis (A + t *: \matrix_(i, j) (if i == ord0 then 0 else j%:R ^+ i.-1))%R in
     new_rows R n.+1 vis (\matrix_(i, j) (exp.ln (P i j) - exp.ln (P ord0 j))) = T)) /\
  (forall d (s : R) (X : 'M[R]_(d, n.+1)) (P : 'M[R]_n.+1) (e : R), s != 0 -> \rank X = n.+1 ->
     [/\ forall i j, vis i j -> 0 < P i j, forall i j, ~~ vis i j -> P i j = 0 & forall j, \sum_i P i j = 1] ->
     0 < e -> exists Q : 'M[R]_n.+1,
       [/\ exists Wk Wq : 'M_(T, d), masked_softmax vis (logits s X Wk Wq) = Q,
         forall i j, ~~ vis i j -> Q i j = 0 &
         forall i j, vis i j -> 0 < Q i j /\ `|exp.ln (Q i j) - exp.ln (P i j)| <= e]).
Proof. exact: (@main.nested_heads (realExp R)). Qed.

Theorem real_nested_draws (R : realType) n (vis : 'I_n.+1 -> 'I_n.+1 -> bool) (pi : 'S_n.+1) (S : finType)
    (v : S -> R) :
  injective v -> (forall (i l : 'I_n.+1) j, (l <= i)%N -> vis (pi i) j -> vis (pi l) j) ->
  (forall j, vis (pi ord0) j) ->
  let T := (\max_(i < n.+1 | (i <= #|[set j | vis (pi i) j]|)%N) i)%N in
  exists2 rare : {set 'M[S]_n.+1}, (#|rare| * #|S| <= T * #|{: 'M[S]_n.+1}|)%N &
  forall M, M \notin rare -> forall d k (s : R) (X : 'M_(d, n.+1)), s != 0 -> \rank X = n.+1 ->
    (exists Wk Wq : 'M_(k, d), masked_softmax vis (logits s X Wk Wq) = masked_softmax vis (map_mx v M)) <->
    (T <= k)%N.
Proof. exact: (@main.nested_draws (realExp R)). Qed.

Theorem real_prefix_draws (R : realType) n p (S : finType) (v : S -> R) : injective v -> (p <= n.+1)%N ->
  let T := maxn (n.+1)./2 p.-1 in
  let vis (i j : 'I_n.+1) := ((i < p) || (i <= j))%N in
  exists2 rare : {set 'M[S]_n.+1}, (#|rare| * #|S| <= T * #|{: 'M[S]_n.+1}|)%N &
  forall M, M \notin rare -> forall d k (s : R) (X : 'M_(d, n.+1)), s != 0 -> \rank X = n.+1 ->
    (exists Wk Wq : 'M_(k, d), masked_softmax vis (logits s X Wk Wq) = masked_softmax vis (map_mx v M)) <->
    (T <= k)%N.
Proof. exact: (@main.prefix_draws (realExp R)). Qed.

Theorem real_causal_dense (R : realType) d n (s : R) (X : 'M[R]_(d, n.+1)) (P : 'M[R]_n.+1) (e : R) :
  let vis (i j : 'I_n.+1) := (i <= j)%N in
  s != 0 -> \rank X = n.+1 ->
  [/\ forall i j, vis i j -> 0 < P i j, forall i j, ~~ vis i j -> P i j = 0 & forall j, \sum_i P i j = 1] ->
  0 < e ->
  exists Q : 'M[R]_n.+1, [/\
    exists Wk Wq : 'M_((n.+1)./2, d), masked_softmax vis (logits s X Wk Wq) = Q,
    forall i j, ~~ vis i j -> Q i j = 0 &
    forall i j, vis i j -> 0 < Q i j /\ `|exp.ln (Q i j) - exp.ln (P i j)| <= e].
Proof. exact: (@main.causal_dense (realExp R)). Qed.

(* Theorem C, causal masks *)
Theorem real_causal_heads (R : realType) n :
  let causal (i j : 'I_n.+1) := (i <= j)%N in
  let size (P : 'M[R]_n.+1) :=
    new_rows R n.+1 causal (\matrix_(i, j) (exp.ln (P i j) - exp.ln (P ord0 j)) : 'M[R]_n.+1) in
  (forall d k (s : R) (X : 'M[R]_(d, n.+1)) (P : 'M[R]_n.+1), s != 0 -> \rank X = n.+1 ->
     [/\ forall i j, causal i j -> 0 < P i j, forall i j, ~~ causal i j -> P i j = 0 &
         forall j, \sum_i P i j = 1] ->
     (exists Wk Wq : 'M_(k, d), masked_softmax causal (logits s X Wk Wq) = P) <-> (size P <= k)%N) /\
  [/\ forall A : 'M[R]_n.+1, finitely_many_but (fun t : R => size (masked_softmax causal
        (A + t *: \matrix_(i, j) (if i == ord0 then 0 else j%:R ^+ i.-1))%R) = (n.+1)./2),
      forall P : 'M[R]_n.+1, (size P <= n)%N &
      forall a : R, a != 0 -> size (masked_softmax causal (a%:M : 'M[R]_n.+1)) = n].
Proof. exact: (@main.causal_heads (realExp R)). Qed.

(* B20, Theorem 2 *)
Theorem real_theorem_2_inclusion (R : realType) h r dp
    (Wo : 'I_h -> 'M[R]_(h * r, r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, h * r)) :
  (0 < r)%N -> (r <= dp)%N ->
  exists (Vo : 'I_h -> 'M[R]_(h * r, dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, h * r)),
  forall n (X : 'M[R]_(h * r, n)),
    layer (temperature dp) Vo Vv Vk Vq X = layer (temperature r) Wo Wv Wk Wq X.
Proof. exact: (@main.theorem_2_inclusion (realExp R)). Qed.

Theorem real_widened_layer (R : realType) d h k v e w (s s' : R) (Wo : 'I_h -> 'M_(d, v)) (Wv : 'I_h -> 'M_(v, d))
    (Wk Wq : 'I_h -> 'M_(k, d)) n (X : 'M_(d, n)) : s' != 0 ->
  layer s' (fun i => row_mx (Wo i) (0 : 'M_(d, w))) (fun i => col_mx (Wv i) (0 : 'M_(w, d)))
    (fun i => col_mx (Wk i) (0 : 'M_(e, d))) (fun i => (s / s') *: col_mx (Wq i) (0 : 'M_(e, d))) X =
  layer s Wo Wv Wk Wq X.
Proof. exact: (@main.widened_layer (realExp R)). Qed.

Theorem real_single_token (R : realType) d h k v h' k' v' (s s' : R)
    (Wo : 'I_h -> 'M_(d, v)) (Wv : 'I_h -> 'M_(v, d)) (Wk Wq : 'I_h -> 'M_(k, d))
    (Vo : 'I_h' -> 'M_(d, v')) (Vv : 'I_h' -> 'M_(v', d)) (Vk Vq : 'I_h' -> 'M_(k', d)) (x : 'M[R]_(d, 1)) :
  layer s Wo Wv Wk Wq x = (\sum_i Wo i *m Wv i) *m x /\
  (\sum_i Wo i *m Wv i = \sum_i Vo i *m Vv i -> layer s Wo Wv Wk Wq x = layer s' Vo Vv Vk Vq x).
Proof. exact: (@main.single_token (realExp R)). Qed.

Theorem real_theorem_2_separation (R : realType) h r dp m
    (Vo : 'I_h -> 'M[R]_(h * r, dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, h * r)) (U : 'M[R]_(h * r)) :
  (0 < r)%N -> (r < dp)%N -> \rank (\sum_i Vo i *m Vv i)%R = (h * r)%N ->
  (forall i, (Vk i)^T *m Vq i = U) -> \rank U = dp ->
  forall (Wo : 'I_h -> 'M[R]_(h * r, r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, h * r)),
  exists X : 'M[R]_(h * r, m.+2),
    layer (temperature r) Wo Wv Wk Wq X <> layer (temperature dp) Vo Vv Vk Vq X.
Proof. exact: (@main.theorem_2_separation (realExp R)). Qed.

Theorem real_theorem_2_witness (R : realType) h r dp : (0 < r)%N -> (r < dp)%N -> (dp <= h * r)%N ->
  exists (Vo : 'I_h -> 'M[R]_(h * r, dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, h * r)),
  forall m (Wo : 'I_h -> 'M[R]_(h * r, r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, h * r)),
  exists X : 'M[R]_(h * r, m.+2),
    layer (temperature r) Wo Wv Wk Wq X <> layer (temperature dp) Vo Vv Vk Vq X.
Proof. exact: (@main.theorem_2_witness (realExp R)). Qed.

Theorem real_theorem_2_printed (R : realType) h r dp : (0 < r)%N ->
  ((r <= dp)%N ->
   forall (Wo : 'M[R]_(h * r, \sum_(i < h) r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, h * r)),
   exists (Vo : 'M[R]_(h * r, \sum_(i < h) dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, h * r)),
   forall n (X : 'M_(h * r, n)),
     Vo *m (\mxcol_i (Vv i *m X *m context (temperature dp) X (Vk i) (Vq i))) =
     Wo *m (\mxcol_i (Wv i *m X *m context (temperature r) X (Wk i) (Wq i)))) /\
  ((r < dp)%N -> forall m (Vo : 'M[R]_(h * r, \sum_(i < h) dp)) (Vv Vk Vq : 'I_h -> 'M[R]_(dp, h * r)) U,
   \rank (Vo *m (\mxcol_i Vv i))%R = (h * r)%N -> (forall i, (Vk i)^T *m Vq i = U) -> \rank U = dp ->
   forall (Wo : 'M[R]_(h * r, \sum_(i < h) r)) (Wv Wk Wq : 'I_h -> 'M[R]_(r, h * r)),
   exists X : 'M_(h * r, m.+2),
     Wo *m (\mxcol_i (Wv i *m X *m context (temperature r) X (Wk i) (Wq i))) <>
     Vo *m (\mxcol_i (Vv i *m X *m context (temperature dp) X (Vk i) (Vq i)))).
Proof. exact: (@main.theorem_2_printed (realExp R)). Qed.

(* the folklore, refuted *)
Theorem real_folklore (R : realType) n (s : R) : s != 0 ->
  exists Wk Wq : 'M[R]_(1, n), \rank (context s (1%:M : 'M[R]_n) Wk Wq) = n.
Proof. exact: (@main.folklore (realExp R)). Qed.

(* any tokens under any mask *)
Theorem real_any_tokens (R : realType) d n (vis : 'I_n -> 'I_n -> bool) (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  s != 0 ->
  [/\ forall i j, vis i j -> 0 < P i j, forall i j, ~~ vis i j -> P i j = 0 & forall j, \sum_i P i j = 1] ->
  (exists k (Wk Wq : 'M_(k, d)), masked_softmax vis (logits s X Wk Wq) = P) <->
  (forall W : 'M_n, (forall i j, ~~ vis i j -> W i j = 0) -> (ones R n)^T *m W = 0 ->
     X *m W *m X^T = 0 -> \sum_i \sum_(j | vis i j) W i j * exp.ln (P i j) = 0).
Proof. exact: (@main.any_tokens (realExp R)). Qed.

(* one missing dimension, d = n - 1 *)
Theorem real_causal_forgives_one (R : realType) n (s : R) (X : 'M[R]_(n, n.+1)) (u : 'cV_n.+1) (P : 'M[R]_n.+1) :
  let causal (i j : 'I_n.+1) := (i <= j)%N in
  s != 0 -> \rank X = n -> X *m u = 0 -> (forall i, u i 0 != 0) -> \sum_i u i 0 != 0 ->
  [/\ forall i j, causal i j -> 0 < P i j, forall i j, ~~ causal i j -> P i j = 0 &
      forall j, \sum_i P i j = 1] ->
  exists Wk Wq : 'M_n, masked_softmax causal (logits s X Wk Wq) = P.
Proof. exact: (@main.causal_forgives_one (realExp R)). Qed.

Theorem real_causal_forgives_no_more (R : realType) d n (X : 'M[R]_(d, n.+1)) :
  let causal (i j : 'I_n.+1) := (i <= j)%N in
  [/\ (\rank X + 2 <= n.+1)%N -> (\rank (col_mx X (ones R n.+1)^T) <= n)%N,
      (\rank (col_mx X (ones R n.+1)^T) <= n)%N -> exists i : 'I_n.+1, forall A : 'M[R]_n.+1,
        finitely_many_but (fun t : R => forall k (s : R), ~ exists Wk Wq : 'M_(k, d),
          masked_softmax causal (logits s X Wk Wq) =
          masked_softmax causal (A + t *: delta_mx i ord_max)%R :> 'M[R]_n.+1) &
      forall (s : R) (Y : 'M[R]_(n, n.+1)) (u : 'cV_n.+1), s != 0 -> \rank Y = n -> Y *m u = 0 ->
        (forall i, u i 0 != 0) ->
        (forall P : 'M[R]_n.+1,
           [/\ forall i j, causal i j -> 0 < P i j, forall i j, ~~ causal i j -> P i j = 0 &
             forall j, \sum_i P i j = 1] ->
           exists k (Wk Wq : 'M_(k, n)), masked_softmax causal (logits s Y Wk Wq) = P) <->
        \sum_i u i 0 != 0].
Proof. exact: (@main.causal_forgives_no_more (realExp R)). Qed.

(* heads of size 1 *)
Theorem real_heads_of_size_one (R : realType) d n (s : R) (X : 'M[R]_(d, n)) :
  let back c (Wk Wq : 'M[R]_(1, d)) := forall j t : 'I_n, (j = t + c :> nat)%N -> forall i : 'I_n,
    (i <= j)%N -> i != t -> logits s X Wk Wq i j < logits s X Wk Wq t j in
  [/\ forall (Wk Wq : 'M_(1, d)) (S : {set 'I_n}),
        (forall t, t \in S -> exists j, forall i, i != t ->
           logits s X Wk Wq i j < logits s X Wk Wq t j) -> (#|S| <= 2)%N,
      forall c Wk Wq, (2 <= c)%N -> (c + 3 <= n)%N -> ~ back c Wk Wq &
      forall c, s != 0 -> \rank X = n -> (c = 1 \/ 0 < c /\ n <= c + 2)%N -> exists Wk Wq, back c Wk Wq].
Proof. exact: (@main.heads_of_size_one (realExp R)). Qed.

(* after layer norm *)
Theorem real_after_layer_norm (R : realType) d n k (s : R) (g : 'rV[R]_d.+1) (b : 'cV_d.+1) (Z : 'M_(d.+1, n))
    (P : 'M[R]_n) : (0 < n)%N -> (ones R d.+1)^T *m Z = 0 ->
  (exists Wk Wq : 'M_(k, d.+1), context s (diag_mx g *m Z + b *m (ones R n)^T)%R Wk Wq = P) ->
  (\rank (centre R n *m log P) <= d)%N.
Proof. exact: (@main.after_layer_norm (realExp R)). Qed.

(* section 6 *)
Theorem real_variants_within (R : realType) n :
  [/\ forall k (K Q : 'M[R]_(k, n)), (0 < n)%N ->
        (\rank (centre R n *m log (softmax (K^T *m Q))) <= k)%N,
      forall k (K Q : 'M[R]_(k, n)) (b : 'cV_k),
        softmax ((K + b *m (ones R n)^T)^T *m Q) = softmax (K^T *m Q),
      forall d g k (s : R) (X : 'M[R]_(d, n)) (P : 'I_g -> 'M[R]_n), (0 < n)%N -> s != 0 -> \rank X = n ->
        (forall a, (forall i j, 0 < P a i j) /\ (forall j, \sum_i P a i j = 1)) ->
        (exists (Wk : 'M_(k, d)) (Wq : 'I_g -> 'M_(k, d)), forall a, context s X Wk (Wq a) = P a) <->
        (\rank (\sum_a <<(centre R n *m log (P a))^T>>)%MS <= k)%N &
      forall k (K Q : 'M[R]_(k, n.+1)) (m : R), let causal (i j : 'I_n.+1) := (i <= j)%N in
        let P : 'M[R]_n.+1 := masked_softmax causal
          (\matrix_(i < n.+1, j < n.+1) ((K^T *m Q) i j - m * `|i%:R - j%:R|)%R) in
        (new_rows R n.+1 causal (\matrix_(i, j) (exp.ln (P i j) - exp.ln (P ord0 j))) <= k.+1)%N].
Proof. exact: (@main.variants_within (realExp R)). Qed.

Theorem real_variants_beyond (R : realType) n : (0 < n)%N ->
  let size (P : 'M[R]_n) := \rank (centre R n *m log P) in
  [/\ forall d k (s : R) (X : 'M[R]_(d, n)) (B P : 'M[R]_n), s != 0 -> \rank X = n ->
        (forall i j, 0 < P i j) /\ (forall j, \sum_i P i j = 1) ->
        (exists Wk Wq : 'M_(k, d), softmax (logits s X Wk Wq + B)%R = P) <->
        (\rank (centre R n *m (log P - B)%R) <= k)%N,
      forall d h k (s : R) (a : 'I_h -> R) (X : 'M[R]_(d, n)) (P : 'M[R]_n),
        s != 0 -> (forall i, a i != 0) -> \rank X = n ->
        (forall i j, 0 < P i j) /\ (forall j, \sum_i P i j = 1) ->
        (exists Wk Wq : 'I_h -> 'M_(k, d), softmax (\sum_i a i *: logits s X (Wk i) (Wq i))%R = P) <->
        (size P <= h * k)%N,
      forall m : R, m != 0 -> size (softmax (- m *: \matrix_(i < n, j < n) `|i%:R - j%:R|)%R) = n.-1 &
      forall r, (r < n)%N -> exists b : int -> R,
        size (softmax (\matrix_(i < n, j < n) b (i%:Z - j%:Z))) = r].
Proof. exact: (@main.variants_beyond (realExp R)). Qed.

(* the lower bounds of Theorem C and for any tokens under any mask, as main.v states them *)
Definition real_theorem_c_necessary (R : realType) := @main.theorem_c_necessary (realExp R).
Definition real_block_bound (R : realType) := @main.block_bound (realExp R).
Definition real_any_tokens_within (R : realType) := @main.any_tokens_within (realExp R).
