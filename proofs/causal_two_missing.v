(* What else a causal mask forgives: nothing. Tokens that are dependent once a 1 is appended to each (as are any
   n + 1 tokens of rank n - 1 or less, and tokens of rank n with 1 in their row space) leave causal contexts
   that no head has. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From rankbound Require Import model exponential linalg almost_all log_rank softmax_gauge theorem_a theorem_c_softmax any_tokens_any_mask causal_one_missing.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section TwoMissing.
Variables (R : expField) (d n : nat) (X : 'M[R]_(d, n.+1)).
Local Notation last := (ord_max : 'I_n.+1).

(* the last query sees all keys: what its log-weights satisfy if a head has them *)
Lemma last_column k s (A : 'M[R]_n.+1) (v : 'cV_n.+1) : X *m v = 0 -> \sum_i v i 0 = 0 ->
  mreachable causal k s X (msoftmax causal A) -> \sum_i v i 0 * A i last = 0.
Proof.
move=> Xv v1 [Wk [Wq h]].
have sP := msoftmax_stochastic A (fun j => ex_intro (fun i => causal i j) ord0 isT).
have [c e] := (msoftmax_eq _ sP).1 h; have [c' e'] := (msoftmax_eq A sP).1 erefl.
have v0 : \sum_i v i 0 * logits s X Wk Wq i last = 0.
  have /matrixP/(_ 0 last) : v^T *m logits s X Wk Wq = 0.
    have z : v^T *m (Wk *m X)^T = 0 by rewrite -trmx_mul -mulmxA Xv mulmx0 trmx0.
    by rewrite /logits -scalemxAr [v^T *m _]mulmxA z mul0mx scaler0.
  by rewrite mxE [RHS]mxE; apply: etrans; apply: eq_bigr => i _; rewrite [v^T _ _]mxE.
move: (logits s X Wk Wq) e v0 {h} => L e v0.
have vis i : causal i last by rewrite /causal -ltnS ltn_ord.
transitivity (\sum_i (v i 0 * L i last + v i 0 * (c' 0 last - c 0 last))).
  by apply: eq_bigr => i _; rewrite e // e' //; ring.
by rewrite big_split /= v0 -mulr_suml v1 mul0r addr0.
Qed.

(* tokens that are dependent once a 1 is appended to each (a relation X v = 0 with sum v = 0): in some direction
   of the last query almost every logits A + t E have a causal context that no head of any size has on X *)
Theorem causal_dependent : (\rank (col_mx X (ones R n.+1)^T) <= n)%N ->
  exists i : 'I_n.+1, forall A : 'M[R]_n.+1, almost_all (fun t : R =>
    forall k s, ~ mreachable causal k s X (msoftmax causal (A + t *: delta_mx i last))).
Proof.
move=> rX; pose Y := col_mx X (ones R n.+1)^T.
have [v Yv] : exists2 v : 'cV[R]_n.+1, Y *m v = 0 & 1%:M *m v != 0.
  by apply: not_submx_witness; apply/negP => /mxrankS; rewrite mxrank1 leqNgt ltnS rX.
rewrite mul1mx => /cV0Pn [i vi]; move: Yv; rewrite mul_col_mx => /eqP.
rewrite col_mx_eq0 => /andP [/eqP Xv /eqP v1]; exists i => A.
have {}v1 : \sum_i v i 0 = 0.
  have /matrixP/(_ 0 0) := v1; rewrite mxE [RHS]mxE; apply: etrans; apply: eq_bigr => l _.
  by rewrite !mxE mul1r.
exists [:: - (\sum_l v l 0 * A l last) / v i 0] => t; rewrite inE => tn k s /(last_column Xv v1) e.
have tail : \sum_l t * v l 0 * (l == i)%:R = t * v i 0.
  rewrite (bigD1 i) //= big1 ?addr0 ?eqxx ?mulr1 // => l /negPf ->; exact: mulr0.
have : \sum_l (v l 0 * A l last + t * v l 0 * (l == i)%:R) = 0.
  by rewrite -[RHS]e; apply: eq_bigr => l _; rewrite !mxE eqxx andbT mulrDr mulrA [v l 0 * t]mulrC.
rewrite big_split /= tail => /eqP; rewrite addrC addr_eq0 => /eqP h.
by case/eqP: tn; rewrite -h mulfK.
Qed.

(* so some causal context is that of no head *)
Corollary causal_unreached : (\rank (col_mx X (ones R n.+1)^T) <= n)%N ->
  exists2 P : 'M[R]_n.+1, mstochastic causal P & forall k s, ~ mreachable causal k s X P.
Proof.
move=> /causal_dependent [i h]; have [t ht _] := almost_all_small (h 0) ltr01.
exists (msoftmax causal (0 + t *: delta_mx i last)) => //.
by apply: msoftmax_stochastic => j; exists ord0.
Qed.

(* two missing dimensions are too many, whatever the tokens *)
Lemma two_missing : (\rank X + 2 <= n.+1)%N -> (\rank (col_mx X (ones R n.+1)^T) <= n)%N.
Proof.
move=> rX; rewrite -addsmxE; apply: leq_trans (mxrank_adds_leqif _ _) _.
apply: (@leq_trans (\rank X + 1)); first by rewrite leq_add2l rank_leq_row.
by move: rX; rewrite addn2 addn1.
Qed.
End TwoMissing.

(* n + 1 tokens in dimension n, every n of them independent (X u = 0, no u_i is 0): heads have every causal
   context on X iff the sum of u is not 0, that is, iff 1 is not in the row space of X *)
Theorem causal_all_iff (R : expField) n s (X : 'M[R]_(n, n.+1)) (u : 'cV_n.+1) :
  s != 0 -> \rank X = n -> X *m u = 0 -> (forall i, u i 0 != 0) ->
  (forall P, mstochastic (@causal n.+1) P -> exists k, mreachable (@causal n.+1) k s X P) <-> \sum_i u i 0 != 0.
Proof.
move=> s0 rX Xu u0; split=> [all | su P sP]; last first.
  by exists n; apply: causal_one_missing_softmax Xu u0 su sP.
apply/eqP => su; have [|P sP no] := @causal_unreached R n n X; last by have [k /no] := all P sP.
have u1 : (ones R n.+1)^T *m u = 0.
  apply/matrixP => i j; rewrite !ord1 mxE [RHS]mxE -[RHS]su; apply: eq_bigr => l _.
  by rewrite !mxE mul1r.
rewrite -ltnS ltn_neqAle rank_leq_col andbT; apply/negP => /eqP full.
have /row_fullP [Z ZY] : row_full (col_mx X (ones R n.+1)^T) by rewrite /row_full full.
have : u = 0 by rewrite -[u]mul1mx -ZY -mulmxA mul_col_mx Xu u1 col_mx0 mulmx0.
by move=> z; have := u0 ord0; rewrite z mxE eqxx.
Qed.

