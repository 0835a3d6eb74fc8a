(* Entries of logits and of the output of a layer; what holds almost everywhere holds somewhere; C is an
   orthogonal projection; the temperature of head size 4. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_2_inclusion theorem_1 theorem_1_more theorem_1_dense theorem_2_b20 almost_all theorem_c theorem_c_softmax theorem_c_causal.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.
Section S.
Variable R : expField.
Lemma logitsE d n k (s : R) (X : 'M_(d, n)) (Wk Wq : 'M_(k, d)) (i j : 'I_n) :
  logits s X Wk Wq i j = s * \sum_a (Wk *m col i X) a 0 * (Wq *m col j X) a 0.
Proof. by rewrite mxE mxE; congr (_ * _); apply: eq_bigr => a _; rewrite mxE -!col_mul ![col _ _ _ _]mxE. Qed.
Lemma layer1_col d n k v (s : R) (Wo : 'M_(d, v)) Wv (Wk Wq : 'M_(k, d)) (X : 'M_(d, n)) j :
  col j (layer s (fun _ : 'I_1 => Wo) (fun=> Wv) (fun=> Wk) (fun=> Wq) X) =
  \sum_i context s X Wk Wq i j *: (Wo *m Wv *m col i X).
Proof.
rewrite /layer big_ord1; apply/colP => a; rewrite [LHS]mxE [LHS]mxE summxE; apply: eq_bigr => i _.
by rewrite [RHS]mxE mulrC -col_mul [col _ _ _ _]mxE.
Qed.
(* every nonzero p leaves something: the 'exists p' statements are not empty *)
Lemma generic_nonempty (A : 'M[R]_3) : exists t, logrank (softmax (A + t%:M)) = 2%N.
Proof.
by have [t h _] := almost_all_small (almost_every A (erefl : (0 < 3)%N)) (ltr01 : 0 < 1 :> R); exists t.
Qed.
Lemma centre_idem n : (0 < n)%N -> centre R n *m centre R n = centre R n /\ (centre R n)^T = centre R n.
Proof.
move=> n0; split; last by rewrite /centre linearB linearZ /= trmx1 trmx_mul trmxK.
by rewrite {2}/centre mulmxBr mulmx1 -scalemxAr mulmxA centre_ones ?nR0 // mul0mx scaler0 subr0.
Qed.
Lemma temp4 : temperature R 4 = 2%:R^-1.
Proof. by rewrite /temperature (_ : 4%:R = 2%:R ^+ 2 :> R) ?sqrtr_sqr ?ger0_norm ?ler0n // -natrX. Qed.
(* causal, two tokens: head size 0 iff the second query weighs both keys alike *)
End S.

(* the hypotheses of Theorem 2 can be met: two heads of size 1 against two of size 2 *)
Definition theorem_2_met (R : expField) := @theorem_2_b20_witness R 2 1 2 erefl erefl erefl.
