(* Tests of the definitions: the log-rank is the least rank over the gauge, 0 only for the uniform
   context; under the full mask Theorem C is Theorem A; the anchor does not matter; what the generic
   statements say of too small a field. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_1 almost_all theorem_1_more theorem_1_dense theorem_b theorem_b_softmax theorem_c theorem_c_generic theorem_c_softmax theorem_c_causal theorem_2_inclusion theorem_2_separation theorem_2_b20 variants.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.
Section S.
Variable R : expField.

(* logrank is the least rank over the gauge *)
Lemma logrank_min n (P : 'M[R]_n) k : (0 < n)%N ->
  (logrank P <= k)%N <-> exists c : 'rV_n, (\rank (logm P + ones R n *m c)%R <= k)%N.
Proof.
move=> n0; split=> [hk | [c]]; last by apply: leq_trans; apply: logrank_le; apply: nR0.
by have [c e] := logrank_attained (logm P); exists c; rewrite e.
Qed.

(* logrank 0 iff uniform *)
Lemma logrank0 n (P : 'M[R]_n) : (0 < n)%N -> stochastic P ->
  (logrank P = 0)%N <-> forall i j, P i j = n%:R^-1.
Proof.
move=> n0 sP; have e : (logrank P = 0)%N <-> (logrank P <= 0)%N by rewrite leqn0; split=> /eqP.
have U : softmax (0 : 'M[R]_n) = const_mx n%:R^-1.
  apply/matrixP => i j; rewrite softmaxE !mxE expR0 (eq_bigr (fun=> 1)) ?sumr_const ?card_ord ?mul1r // => l _.
  by rewrite mxE expR0.
apply: iff_trans e _; apply: iff_trans (logrank_min P 0 n0) _; split.
  move=> [c]; rewrite leqn0 mxrank_eq0 => /eqP e i j.
  have h : softmax 0 = P by apply/(softmax_eq _ sP); exists c; rewrite e.
  by rewrite -h U mxE.
move=> h; have eP : P = softmax 0 by rewrite U; apply/matrixP => i j; rewrite mxE.
have [c e] := (softmax_eq (0 : 'M[R]_n) sP).1 (esym eP).
by exists c; rewrite -e mxrank0.
Qed.

(* Theorem C with the full mask is Theorem A *)
Lemma full_mask n (o : 'I_n) (P : 'M[R]_n) : stochastic P ->
  masked_logrank (fun _ _ => true) o P = logrank P.
Proof. exact: masked_full. Qed.

(* the count does not depend on the reference key *)
Lemma masked_independent n (vis : 'I_n -> 'I_n -> bool) (nest : nested vis)
  (o o' : 'I_n) (P : 'M[R]_n) : (forall j, vis o j) -> (forall j, vis o' j) -> mstochastic vis P ->
  masked_logrank vis o P = masked_logrank vis o' P.
Proof.
move=> v v' sP.
have H k := theorem_c_softmax nest v k (oner_neq0 R) (mxrank1 _ _) sP.
have H' k := theorem_c_softmax nest v' k (oner_neq0 R) (mxrank1 _ _) sP.
by apply/eqP; rewrite eqn_leq; apply/andP; split; [apply/H/(H' _) | apply/H'/(H _)].
Qed.

End S.

(* generic_rows over a finite field: p may vanish everywhere *)
Lemma vacuous_F2 : exists2 p : {poly 'F_2}, p != 0 & forall t, ~~ root p t -> False.
Proof.
exists ('X * ('X - 1)); first by rewrite mulf_neq0 ?polyX_eq0 ?polyXsubC_eq0 // -polyC1 polyXsubC_eq0.
by case=> -[|[|]] // i; rewrite rootM -polyC1 root_XsubC rootX.
Qed.
