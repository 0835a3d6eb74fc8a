(* Column softmax over the reals, and its gauge (Lemma 1). *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential log_rank.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Softmax.
Variable R : expField.
Implicit Types m n : nat.

Lemma softmaxE m n (L : 'M[R]_(m, n)) i j :
  softmax L i j = expR (L i j) / \sum_l expR (L l j).
Proof. exact: mxE. Qed.

Lemma sum_expR_gt0 m (f : 'I_m -> R) (i : 'I_m) : 0 < \sum_l expR (f l).
Proof.
rewrite (bigD1 i) //= ltr_paddr ?expR_gt0 //.
by apply: sumr_ge0 => l _; apply/ltW/expR_gt0.
Qed.

Lemma onesE n p (c : 'rV[R]_p) i j : (ones R n *m c) i j = c 0 j.
Proof. by rewrite !mxE big_ord1 !mxE mul1r. Qed.

(* Lemma 1 *)
Lemma softmax_gauge m n (L L' : 'M[R]_(m, n)) :
  softmax L = softmax L' <-> exists c : 'rV_n, L - L' = ones R m *m c.
Proof.
split=> [h | [c h]].
  exists (\row_j ln ((\sum_l expR (L l j)) / (\sum_l expR (L' l j)))).
  apply/matrixP => i j; rewrite onesE !mxE.
  have Z : 0 < \sum_l expR (L l j) by apply: (sum_expR_gt0 (fun l => L l j) i).
  have Z' : 0 < \sum_l expR (L' l j) by apply: (sum_expR_gt0 (fun l => L' l j) i).
  move/matrixP/(_ i j): h; rewrite !mxE => h.
  apply: (@expR_inj R); rewrite lnK ?posrE ?divr_gt0 // expRB.
  apply/eqP; rewrite eqr_div ?lt0r_neq0 ?expR_gt0 //.
  by move/eqP: h; rewrite eqr_div ?lt0r_neq0 // => /eqP ->; rewrite mulrC.
apply/matrixP => i j; rewrite !mxE.
have e l : expR (L l j) = expR (c 0 j) * expR (L' l j).
  by rewrite -expRD -(onesE c l j) -h !mxE subrK.
rewrite e (eq_bigr _ (fun l _ => e l)) -mulr_sumr -mulf_div divff ?mul1r //.
by rewrite gt_eqF ?expR_gt0.
Qed.

Lemma softmax_stochastic m n (L : 'M[R]_(m, n)) : (0 < m)%N -> stochastic (softmax L).
Proof.
case: m L => // m L _; have Z j := sum_expR_gt0 (fun l => L l j) ord0.
split=> [i j | j]; first by rewrite mxE divr_gt0 ?expR_gt0.
under eq_bigr do rewrite mxE.
by rewrite -mulr_suml divff // gt_eqF.
Qed.

Lemma softmax_logm m n (P : 'M[R]_(m, n)) : stochastic P -> softmax (logm P) = P.
Proof.
case=> P0 P1; apply/matrixP => i j; rewrite !mxE.
under eq_bigr do rewrite mxE lnK ?posrE //.
by rewrite P1 divr1 lnK ?posrE.
Qed.

(* the contexts equal to P, in terms of logits *)
Lemma softmax_eq m n (L P : 'M[R]_(m, n)) : stochastic P ->
  softmax L = P <-> exists c : 'rV_n, L = logm P + ones R m *m c.
Proof.
move=> sP; rewrite -{1}(softmax_logm sP) softmax_gauge.
by split=> -[c h]; exists c; [rewrite -h addrC subrK | rewrite h addrC addKr].
Qed.
End Softmax.
