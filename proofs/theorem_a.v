(* Theorem A: tokens of full column rank, real softmax heads. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential log_rank softmax_gauge.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section TheoremA.
Variable R : expField.

Variables (d n k : nat) (s : R) (X : 'M[R]_(d, n)) (P : 'M[R]_n).
Hypotheses (n0 : (0 < n)%N) (sP : stochastic P).

Lemma nR0 : n%:R != 0 :> R. Proof. by rewrite pnatr_eq0 -lt0n. Qed.

Lemma contextP (Wk Wq : 'M[R]_(k, d)) : context s X Wk Wq = P <->
  exists c : 'rV_n, (Wk *m X)^T *m (s *: Wq *m X) = logm P + ones R n *m c.
Proof. by rewrite /context softmax_eq // /logits -scalemxAl -scalemxAr. Qed.

(* for every X and s: a head of size k has contexts of log-rank at most k *)
Theorem logrank_necessary (Wk Wq : 'M[R]_(k, d)) : context s X Wk Wq = P -> (logrank P <= k)%N.
Proof.
move=> /contextP [c h]; apply: leq_trans (logrank_le nR0 _ c) _; rewrite -h.
by apply: leq_trans (mxrankM_maxl _ _) _; rewrite mxrank_tr rank_leq_row.
Qed.

(* X of full column rank, s <> 0: P is the context of a head of size k iff logrank P <= k *)
Theorem theorem_a : s != 0 -> \rank X = n ->
  (exists Wk Wq : 'M_(k, d), context s X Wk Wq = P) <-> (logrank P <= k)%N.
Proof.
move=> s0 rX; apply: iff_trans (head_of_size nR0 _ _ rX).
split=> [[Wk [Wq /contextP [c h]]] | [Wk [Wq [c h]]]]; first by exists Wk, (s *: Wq), c.
by exists Wk, (s^-1 *: Wq); apply/contextP; exists c; rewrite scalerA divff // scale1r.
Qed.
End TheoremA.

(* the usual scale 1 / sqrt k *)
Corollary theorem_a_sqrt (R : expField) d n k (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  (0 < n)%N -> (0 < k)%N -> \rank X = n -> stochastic P ->
  (exists Wk Wq : 'M_(k, d), context (temperature R k) X Wk Wq = P) <-> (logrank P <= k)%N.
Proof.
move=> n0 k0 rX sP; apply: theorem_a => //.
by rewrite invr_eq0 sqrtr_eq0 -ltNge ltr0n.
Qed.
