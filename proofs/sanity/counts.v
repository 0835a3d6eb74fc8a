(* Instances of the counts: the least head sizes of small masks, and that the hypotheses can be met. *)
From mathcomp Require Import all_ssreflect fingroup perm all_algebra zify.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_1 positive_distance theorem_c theorem_c_softmax theorem_c_ordered theorem_c_generic theorem_c_causal theorem_c_prefix theorem_b_cases visible_block almost_all theorem_2_concat variants_logits selecting_sets causal_one_missing causal_two_missing reach_dimension.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

(* docs/theory.md, section 3: n = 12 with prefix 2, 6, 11: 6, 6, 10; causal n = 2..6: 1, 1, 2, 2, 3; full masks: n - 1 *)
Example prefix_12 : [/\ maxn 12./2 2.-1 = 6, maxn 12./2 6.-1 = 6 & maxn 12./2 11.-1 = 10]%N. Proof. by []. Qed.
Example causal_2_6 : [seq maxn n./2 0.-1 | n <- iota 2 5] = [:: 1; 1; 2; 2; 3]%N. Proof. by []. Qed.
Lemma prefix_full n : maxn (n.+1)./2 (n.+1).-1 = n. Proof. lia. Qed.

(* prefix 0 and prefix 1 are causal *)
Lemma prefix0 n (i j : 'I_n) : prefix 0 i j = causal i j. Proof. by []. Qed.
Lemma prefix1 n (i j : 'I_n) : prefix 1 i j = causal i j.
Proof. by rewrite /prefix /causal ltnS leqn0; case: eqP => [-> | //]. Qed.

(* no padding is causal attention *)
Lemma padded0 n (i j : 'I_(0 + n.+1)) : padded i j = causal i j.
Proof. by rewrite /padded /causal leq0n /=; case: eqP => [-> | //]; rewrite leqnn. Qed.

Section S.
Variable R : expField.

(* the hypothesis of positive_distance is met: e^I on three tokens has log-rank 2 > 1 *)
Lemma distance_met : exists2 e : R, 0 < e &
  forall d s (X : 'M_(d, 3)) Q, reachable 1 s X Q -> exists i j, e < `|Q i j - exp_identity 3 1 i j|.
Proof.
apply: positive_distance; first exact: softmax_stochastic.
have sP : stochastic (exp_identity 3 (1 : R)) by apply: softmax_stochastic.
have := (theorem_a (logrank (exp_identity 3 (1 : R))) (s := 1) (X := 1%:M : 'M[R]_3) isT sP
  (oner_neq0 _) (mxrank1 _ _)).2 (leqnn _).
by case=> Wk [Wq h]; have := @exp_identity_needs R _ 3 _ _ _ _ _ 1 isT (oner_neq0 R) h.
Qed.

(* ALiBi on two tokens: distance matrix [[0, 1], [1, 0]] *)
Lemma distance2 : distance R 2 = \matrix_(i, j) (i != j)%:R.
Proof.
apply/matrixP => -[[|[|]] //= hi] -[[|[|]] //= hj]; rewrite distE !mxE -val_eqE /=; by [].
Qed.

(* one head of size k, mixed with weight 1, is a head: the count of talking heads is that of Theorem A *)
Lemma talking1 n k s (X P : 'M[R]_n) : (0 < n)%N -> s != 0 -> \rank X = n -> stochastic P ->
  (exists Wk Wq : 'I_1 -> 'M_(k, n), softmax (\sum_i 1 *: logits s X (Wk i) (Wq i)) = P) <->
  (exists Wk Wq : 'M_(k, n), context s X Wk Wq = P).
Proof.
move=> n0 s0 rX sP; rewrite (talking_heads n0 k s0 (fun=> oner_neq0 R) rX sP) mul1n.
exact: iff_sym (theorem_a k n0 sP s0 rX).
Qed.
End S.

(* d = 4, 2 heads of size 2, and of size 3: 4 d^2 and 4 d dp h *)
Example weights_4 : parameters 4 2 2 2 = (4 * 4 ^ 2)%N /\ parameters 4 2 3 3 = (4 * 4 * 3 * 2)%N.
Proof. by rewrite !parameter_count. Qed.

(* single keys among 5: dimension 2 is enough, 1 is not; pairs among 4: 3, as in a simplex *)
Example single_keys (R : realFieldType) :
  (exists K : 'M[R]_(2, 5), forall S : {set 'I_5}, (#|S| <= 1)%N -> exists w, prefers K w S) /\
  ~ (exists K : 'M[R]_(1, 5), forall S : {set 'I_5}, (#|S| <= 1)%N -> exists w, prefers K w S) /\
  ~ (exists K : 'M[R]_(2, 4), forall S : {set 'I_4}, (#|S| <= 2)%N -> exists w, prefers K w S).
Proof. by split; [exact/selecting_sets | split=> /selecting_sets]. Qed.

(* two tokens in dimension 1: X = [1, 2] has all causal contexts, X = [1, 1] does not *)
Lemma one_dimension (R : expField) (a b : R) : a != 0 -> b != 0 ->
  let X : 'M[R]_(1, 2) := \matrix_(i, j) (if j == ord0 then a else b) in
  (forall P, mstochastic (@causal 2) P -> exists k, mreachable (@causal 2) k 1 X P) <-> b != a.
Proof.
move=> a0 b0 X; pose u : 'cV[R]_2 := \col_i (if i == ord0 then b else - a).
have sum2 (f : 'I_2 -> R) : \sum_i f i = f ord0 + f (lift ord0 ord0) by rewrite !big_ord_recl big_ord0 addr0.
have rX : \rank X = 1%N.
  apply/eqP; rewrite eqn_leq rank_leq_row lt0n mxrank_eq0; apply/matrix0Pn.
  by exists ord0, ord0; rewrite mxE eqxx.
have Xu : X *m u = 0 by apply/matrixP => i j; rewrite mxE sum2 !mxE /= mulrN [b * a]mulrC subrr.
rewrite (causal_all_iff (oner_neq0 R) rX Xu) => [|i]; last by rewrite mxE; case: ifP; rewrite ?oppr_eq0.
by rewrite sum2 !mxE /= subr_eq0.
Qed.

(* some causal context of four tokens stays at a distance from all heads of size 1, though heads of size 2 come
   near every one (causal_dense) *)
Lemma four_tokens (R : expField) : exists2 P : 'M[R]_4, mstochastic (@causal 4) P & exists2 e : R, 0 < e &
  forall d s (X : 'M_(d, 4)) Q, mreachable (@causal 4) 1 s X Q ->
    exists i j : 'I_4, causal i j /\ e < `|ln (Q i j) - ln (P i j)|.
Proof.
have [t ht _] := almost_all_small (@causal_distance R 3 0) ltr01.
exists (msoftmax (@causal 4) (0 + t *: tilt R 3)); last exact: (ht 1%N isT).
by apply: msoftmax_stochastic => j; exists ord0.
Qed.

(* draws: on two tokens the log-rank is not 1 iff both columns are constant, a share of 1 / |S|^2 of the logits with
   entries in S, where full_draws allows 1 / |S| *)
Lemma two_tokens (R : expField) (M : 'M[R]_2) : (logrank (softmax M) != 1)%N =
  (M ord_max ord0 - M ord0 ord0 == 0) && (M ord_max ord_max - M ord0 ord_max == 0).
Proof.
rewrite logrank_softmax //; apply/idP/idP => [r1 | /andP [/eqP a /eqP b]]; last first.
  rewrite (_ : \rank _ = 0%N) //; apply/eqP; rewrite mxrank_eq0; apply/eqP.
  have -> : M = 0 + ones R 2 *m row ord0 M.
    apply/matrixP => i j; rewrite add0r onesE mxE; case: i => -[|[|]] // hi; first by congr (M _ _); apply: val_inj.
    have -> : Ordinal hi = ord_max by apply: val_inj.
    case: j => -[|[|]] // hj; [have -> : Ordinal hj = ord0 by apply: val_inj|have -> : Ordinal hj = ord_max by apply: val_inj].
      by apply/eqP; rewrite -subr_eq0 a.
    by apply/eqP; rewrite -subr_eq0 b.
  by rewrite centre_gauge ?pnatr_eq0 // mulmx0.
have z : centre R 2 *m M = 0.
  apply/eqP; rewrite -mxrank_eq0 -leqn0 -ltnS ltn_neqAle r1 /=.
  by rewrite -ltnS; apply: logrank_lt; rewrite ?pnatr_eq0.
have E j : M ord_max j - M ord0 j = 0.
  move/eqP: z; rewrite /centre mulmxBl mul1mx -scalemxAl -mulmxA scalemxAr subr_eq0 => /eqP/matrixP h.
  by rewrite (h ord_max j) (h ord0 j) !onesE subrr.
by rewrite !E eqxx.
Qed.

(* dimensions: tokens 1 in one dimension (1 is in the row space) leave one context; so do zeros; the identity as tokens has
   all n (n - 1) dimensions without a mask *)
Lemma reach_ones (R : expField) n a : reach_dimension (fun _ _ => true) a (const_mx 1 : 'M[R]_(1, n.+1)) = 0%N.
Proof.
have e : (ones R n.+1)^T = const_mx 1 :> 'M[R]_(1, n.+1) by apply/matrixP => i j; rewrite !mxE.
by have := rank_leq_row (const_mx 1 : 'M[R]_(1, n.+1)); rewrite full_reach // e submx_refl; case: (\rank _) => [|[]].
Qed.

Lemma reach_identity (R : expField) n a :
  reach_dimension (fun _ _ => true) a (1%:M : 'M[R]_n.+1) = (n * n.+1)%N.
Proof. by rewrite full_reach // mxrank1 submx1 subn1. Qed.

(* tokens 1, 2 in one dimension meet the hypotheses of causal_reach: 1 is not in their row space, and both logits of
   the second query are reached, as N (N - 1) / 2 = 1 *)
Lemma causal_reach_met (R : expField) :
  reach_dimension causal (fun _ => ord0) (\row_(j < 2) (j.+1)%:R : 'M[R]_(1, 2)) = 1%N.
Proof.
have r1 (A : 'M[R]_1) : A 0 0 != 0 -> \rank A = 1%N.
  by move=> z; apply: mxrank_unit; rewrite unitmxE det_mx11 unitfE.
set X := \row__ _.
have ff : \rank (colsub (@first 1 1) X) = 1%N by apply: r1; rewrite !mxE pnatr_eq0.
have lf : \rank (colsub (@last_queries 1 1) X) = 1%N by apply: r1; rewrite !mxE pnatr_eq0.
have [_ no _] := causal_reach (isT : (1 < 2)%N) ff lf; apply: no.
apply/negP => /submxP [u /matrixP e]; have := e 0 ord0; have := e 0 ord_max.
rewrite !mxE !big_ord1 !mxE /first !inordK // mulr1 => e2 e1; move: e2; rewrite -e1 mul1r => /eqP.
by rewrite (eqr_nat R 1 2).
Qed.
