(* Refuted: "a context of a head of size k has rank at most k". Size 1, rank n: P prop. to e^(i j). *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg almost_all log_rank softmax_gauge theorem_a.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Folklore.
Variable R : expField.

Lemma expRM (x : R) i : expR (i%:R * x) = expR x ^+ i.
Proof. by elim: i => [|i IH]; rewrite ?mul0r ?expR0 // mulrS mulrDl mul1r expRD IH exprS. Qed.

(* X = I, any scale s <> 0: some head of size 1 has a context of rank n *)
Theorem folklore_refuted n (s : R) : s != 0 ->
  exists Wk Wq : 'M_(1, n), \rank (context s 1%:M Wk Wq) = n.
Proof.
move=> s0; pose Wk := \row_(i < n) (i%:R : R); pose Wq := \row_(j < n) (s^-1 * j%:R : R).
exists Wk, Wq; apply/eqP/inj_row_free => u uP.
have L i j : logits s 1%:M Wk Wq i j = i%:R * j%:R.
  by rewrite /logits !mulmx1 mxE mxE big_ord1 !mxE mulrCA mulVKf.
apply: (@vandermonde _ _ _ (fun j : 'I_n => expR j%:R) setT) => [i j | | j _].
- by move/(@expR_inj R)/eqP; rewrite eqr_nat => /eqP/val_inj.
- by rewrite cardsT card_ord.
have Z : 0 < \sum_l expR (logits s 1%:M Wk Wq l j) by apply: (sum_expR_gt0 _ j).
apply: (mulIf (invr_neq0 (lt0r_neq0 Z))); rewrite mul0r mulr_suml.
have /matrixP/(_ 0 j) := uP; rewrite mxE [RHS]mxE; apply: etrans.
by apply: eq_bigr => i _; rewrite /context softmaxE L expRM mulrA.
Qed.
End Folklore.
