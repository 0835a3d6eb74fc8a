(* Tests of Theorem B: on tokens of full column rank its conditions are void; the two cases of
   docs/theory.md; what a causal softmax hides. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_1 almost_all theorem_1_more theorem_1_dense theorem_b theorem_b_softmax theorem_c theorem_c_generic theorem_c_softmax theorem_c_causal theorem_c_ordered theorem_2_inclusion theorem_2_separation theorem_2_b20 variants.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.
Section S.
Variable R : expField.
(* known bias *)
(* theorem_b with X of full column rank is theorem a *)
Lemma ok_full d n (X : 'M[R]_(d, n)) (A : 'M[R]_n) : \rank X = n -> kills_null_right X A /\ kills_null_left X A.
Proof.
move=> rX; have /row_fullP [Y YX] : row_full X by rewrite /row_full rX.
have k v : X *m v = 0 -> v = 0 :> 'cV_n by move=> e; rewrite -[v]mul1mx -YX -mulmxA e mulmx0.
by split=> [v /k -> | u /k -> _]; rewrite ?mulmx0 // trmx0 mul0mx.
Qed.
(* exactly the case of docs/theory.md, section 2: 1 in the row space of X: kills_null_left is N l = 0 *)
Lemma left_case2 d n (X : 'M[R]_(d, n)) (A : 'M[R]_n) : ((ones R n)^T <= X)%MS ->
  kills_null_left X A <-> forall u : 'cV_n, X *m u = 0 -> u^T *m A = 0.
Proof.
move=> /submxP [a e]; split=> h u Xu; last by move=> _; apply: h.
by apply: h => //; rewrite e -mulmxA Xu mulmx0.
Qed.
(* 1 not in the row space: the gauge is forced *)
Lemma gauge_forced d n (X : 'M[R]_(d, n)) (A : 'M[R]_n) k (Wk Wq : 'M[R]_(k, d)) c (w : 'cV_n) :
  X *m w = 0 -> (ones R n)^T *m w = 1%:M -> (Wk *m X)^T *m (Wq *m X) = A + ones R n *m c -> c = - (w^T *m A).
Proof.
move=> Xw w1 /(congr1 (mulmx w^T)); rewrite mulmxDr !trmx_mul !mulmxA -trmx_mul Xw trmx0 !mul0mx.
have -> : w^T *m ones R n = 1%:M by rewrite -[ones R n]trmxK -trmx_mul w1 trmx1.
by rewrite mul1mx => /esym/eqP; rewrite addrC addr_eq0 => /eqP.
Qed.
(* mstochastic is what causal softmax gives; hidden weight 0 *)
Lemma causal_hidden n (L : 'M[R]_n.+1) (i j : 'I_n.+1) : (j < i)%N -> msoftmax (@causal n.+1) L i j = 0.
Proof. by move=> ji; rewrite mxE /causal leqNgt ji. Qed.
Lemma causal_first n (L : 'M[R]_n.+1) : msoftmax (@causal n.+1) L ord0 ord0 = 1.
Proof.
rewrite mxE /= (big_pred1 ord0) ?divff ?lt0r_neq0 ?expR_gt0 // => l.
by rewrite /causal leqn0.
Qed.
End S.
