(* Theorem C for any nested mask: keys ordered by pi, queries in any order. *)
From mathcomp Require Import all_ssreflect fingroup perm all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_c theorem_c_softmax.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Ordered.
Variables (R : expField) (n : nat) (vis : 'I_n -> 'I_n -> bool) (pi : 'S_n) (anchor : 'I_n).
(* in the order pi(0), pi(1), ... of the keys, the sets of queries that see them decrease *)
Hypothesis nest : nested (fun i => vis (pi i)).
Hypothesis anchor_seen : forall j, vis anchor j.

Lemma mxrank_row_perm m p (s : 'S_m) (A : 'M[R]_(m, p)) : \rank (row_perm s A) = \rank A.
Proof. by rewrite row_permE (eqmxMfull A) // row_full_unit unitmx_perm. Qed.

Definition ordered_logrank (P : 'M[R]_n) :=
  new_rows (fun i => vis (pi i)) (row_perm pi (log_ratio anchor P)).

(* Theorem C, rows in the order pi *)
Theorem theorem_c_ordered d k s (X : 'M[R]_(d, n)) P : s != 0 -> \rank X = n -> mstochastic vis P ->
  (exists Wk Wq : 'M_(k, d), msoftmax vis (logits s X Wk Wq) = P) <-> (ordered_logrank P <= k)%N.
Proof.
move=> s0 rX sP; apply: iff_trans (completion_rank nest _ k); split.
  move=> [Wk [Wq /(msoftmax_eq _ sP) [c]]].
  have: (\rank (logits s X Wk Wq) <= k)%N.
    rewrite /logits scalemxAr; apply: leq_trans (mxrankM_maxl _ _) _.
    by rewrite mxrank_tr rank_leq_row.
  move: (logits _ _ _ _) => L rL h.
  exists (row_perm pi ((1%:M - ones R n *m delta_mx 0 anchor) *m L)).
    move=> i j v; rewrite [LHS]mxE mulmxBl mul1mx -mulmxA -rowE [LHS]mxE [X in _ + X]mxE onesE !mxE.
    by rewrite !h // opprD addrACA subrr addr0.
  by rewrite mxrank_row_perm; apply: leq_trans (mxrankM_maxr _ _) rL.
move=> [M hM rM]; have fX : row_full X by rewrite /row_full rX.
have [||| Wk [Wq e]] := @logits_factor _ d n k X (row_perm pi^-1 M); rewrite ?submx_full //.
  by rewrite mxrank_row_perm.
exists Wk, (s^-1 *: Wq); apply/msoftmax_eq => //; exists (- \row_j ln (P anchor j)) => i j v.
rewrite /logits -scalemxAl -scalemxAr scalerA divff // scale1r e mxE hM ?permKV //.
by rewrite !mxE permKV.
Qed.
End Ordered.
