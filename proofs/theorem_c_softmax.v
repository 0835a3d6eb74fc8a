(* Theorem C for masked softmax heads. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_c.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Masked.
Variables (R : expField) (n : nat).
Variable vis : 'I_n -> 'I_n -> bool.
Local Notation msoftmax := (@model.msoftmax R n vis).
Local Notation mstochastic := (@model.mstochastic R n vis).

(* the masked gauge lemma *)
Lemma msoftmax_eq (L P : 'M[R]_n) : mstochastic P ->
  msoftmax L = P <-> exists c : 'rV_n, forall i j, vis i j -> L i j = ln (P i j) + c 0 j.
Proof.
case=> P0 Ph P1; split=> [h | [c h]].
  exists (\row_j ln (\sum_(l | vis l j) expR (L l j))) => i j v.
  have Z : 0 < \sum_(l | vis l j) expR (L l j).
    rewrite (bigD1 i) //= ltr_paddr ?expR_gt0 //.
    by apply: sumr_ge0 => l _; apply/ltW/expR_gt0.
  by rewrite -h !mxE v ln_div ?posrE ?expR_gt0 // expK subrK.
apply/matrixP => i j; rewrite mxE; case: (boolP (vis i j)) => [v | /Ph ->] //.
have e l : vis l j -> expR (L l j) = P l j * expR (c 0 j).
  by move=> vl; rewrite h // expRD lnK // posrE P0.
rewrite e // (eq_bigr _ e) -mulr_suml -mulf_div divff ?mulr1 ?lt0r_neq0 ?expR_gt0 //.
rewrite big_mkcond (eq_bigr (fun l => P l j)) ?P1 ?divr1 // => l _.
by case: (boolP (vis l j)) => // /Ph ->.
Qed.

Lemma msoftmax_stochastic (L : 'M[R]_n) : (forall j, exists i, vis i j) -> mstochastic (msoftmax L).
Proof.
move=> v; split=> [i j vij | i j /negPf h | j]; rewrite ?mxE ?h //.
  rewrite vij divr_gt0 ?expR_gt0 // (bigD1 i) //= ltr_paddr ?expR_gt0 //.
  by apply: sumr_ge0 => l _; apply/ltW/expR_gt0.
under eq_bigr do rewrite mxE.
rewrite -big_mkcond -mulr_suml divff //; have [i vij] := v j.
rewrite (bigD1 i) //= lt0r_neq0 // ltr_paddr ?expR_gt0 //.
by apply: sumr_ge0 => l _; apply/ltW/expR_gt0.
Qed.

Hypothesis nest : nested vis.
Variable anchor : 'I_n. (* a key that every query sees *)
Hypothesis anchor_seen : forall j, vis anchor j.

Local Notation log_ratio := (@model.log_ratio R n anchor).

Lemma log_ratioE (L : 'M[R]_n) i j : vis i j -> log_ratio (msoftmax L) i j = L i j - L anchor j.
Proof.
move=> v; have sP := msoftmax_stochastic L (fun j => ex_intro _ anchor (anchor_seen j)).
have [c h] := (msoftmax_eq L sP).1 erefl.
by rewrite mxE !h // opprD addrACA subrr addr0.
Qed.

Local Notation masked_logrank := (@model.masked_logrank R n vis anchor).

(* nested mask, every X and s: heads of size k have contexts of masked log-rank at most k *)
Theorem masked_necessary d k s (X : 'M[R]_(d, n)) P (Wk Wq : 'M_(k, d)) : mstochastic P ->
  msoftmax (logits s X Wk Wq) = P -> (masked_logrank P <= k)%N.
Proof.
move=> sP /(msoftmax_eq _ sP) [c].
have: (\rank (logits s X Wk Wq) <= k)%N.
  rewrite /logits scalemxAr; apply: leq_trans (mxrankM_maxl _ _) _.
  by rewrite mxrank_tr rank_leq_row.
move: (logits _ _ _ _) => L rL h. (* keep L opaque: mxE would open it *)
have hM : completes vis ((1%:M - ones R n *m delta_mx 0 anchor) *m L) (log_ratio P).
  move=> i j v; rewrite mulmxBl mul1mx -mulmxA -rowE [LHS]mxE [X in _ + X]mxE onesE !mxE.
  by rewrite !h // opprD addrACA subrr addr0.
exact: leq_trans (new_rows_le nest hM) (leq_trans (mxrankM_maxr _ _) rL).
Qed.

(* X of full column rank, s <> 0: P is the masked context of a head of size k iff its masked log-rank is
   at most k *)
Theorem theorem_c_softmax d k s (X : 'M[R]_(d, n)) P : s != 0 -> \rank X = n -> mstochastic P ->
  (exists Wk Wq : 'M_(k, d), msoftmax (logits s X Wk Wq) = P) <-> (masked_logrank P <= k)%N.
Proof.
move=> s0 rX sP; split=> [[Wk [Wq]] | hk]; first exact: masked_necessary.
have fX : row_full X by rewrite /row_full rX.
have [M hM rM] := (completion_rank nest (log_ratio P) k).2 hk.
have [||| Wk [Wq e]] := @logits_factor _ d n k X M; rewrite ?submx_full //.
exists Wk, (s^-1 *: Wq); apply/msoftmax_eq => //; exists (- \row_j ln (P anchor j)) => i j v.
by rewrite /logits -scalemxAl -scalemxAr scalerA divff // scale1r e hM // !mxE.
Qed.

(* never more than n - 1 *)
Lemma masked_logrank_le (P : 'M[R]_n) : (masked_logrank P <= n.-1)%N.
Proof.
rewrite /model.masked_logrank /model.new_rows (bigD1 anchor) //= [model.new_row _ _ anchor](_ : _ = false).
  rewrite add0n; apply: (@leq_trans (\sum_(i < n | i != anchor) 1)%N); first by apply: leq_sum => i _; exact: leq_b1.
  by rewrite sum1_card cardC1 card_ord.
apply/negbTE; rewrite negbK; have -> : row anchor (log_ratio P) = 0 by apply/rowP => j; rewrite !mxE subrr.
by rewrite mul0mx sub0mx.
Qed.


(* logits that are those of rank r on the visible pairs have a masked log-rank of at most r *)
Lemma masked_rank (L L' : 'M[R]_n) : (forall i j, vis i j -> L i j = L' i j) ->
  (masked_logrank (msoftmax L) <= \rank L')%N.
Proof.
move=> h; have e : msoftmax L = msoftmax (logits 1 1%:M 1%:M L').
  have -> : logits 1 1%:M 1%:M L' = L' by rewrite /logits !mulmx1 trmx1 mul1mx scale1r.
  apply/matrixP => i j; rewrite !mxE; case: (boolP (vis i j)) => // v; rewrite h //; congr (_ / _); apply: eq_bigr => l vl; by rewrite h.
have [U [V UV]] := (rank_factor (\rank L') L').1 (leqnn _).
apply: (masked_necessary (s := 1) (X := 1%:M) (Wk := U^T) (Wq := V)).
  by apply: msoftmax_stochastic => j; exists anchor.
by rewrite e /logits !mulmx1 trmx1 mul1mx trmxK UV.
Qed.
End Masked.

(* causal attention: query j sees the keys i <= j *)
Lemma causal_nested n : nested (@causal n).
Proof. by move=> i l j; apply: leq_trans. Qed.

Corollary theorem_c_causal (R : expField) n d k s (X : 'M[R]_(d, n.+1)) P :
  s != 0 -> \rank X = n.+1 -> mstochastic (@causal n.+1) P ->
  (exists Wk Wq : 'M_(k, d), msoftmax (@causal n.+1) (logits s X Wk Wq) = P) <->
  (masked_logrank (@causal n.+1) ord0 P <= k)%N.
Proof. by move=> s0 rX sP; apply: theorem_c_softmax => //; apply: causal_nested. Qed.

(* Theorem C with the full mask is Theorem A *)
Lemma msoftmax_full (R : expField) n (L : 'M[R]_n) : msoftmax (fun _ _ => true) L = softmax L.
Proof. by apply/matrixP => i j; rewrite !mxE. Qed.
Lemma mstochastic_full (R : expField) n (P : 'M[R]_n) : mstochastic (fun _ _ => true) P <-> stochastic P.
Proof. by split=> [[h _ s] | [h s]]; split=> // i j; apply: h. Qed.
Lemma masked_full (R : expField) n (o : 'I_n) (P : 'M[R]_n) : stochastic P ->
  masked_logrank (fun _ _ => true) o P = logrank P.
Proof.
move=> sP; have n0 : (0 < n)%N by apply: leq_ltn_trans (ltn_ord o).
have H k : (masked_logrank (fun _ _ => true) o P <= k)%N <-> (logrank P <= k)%N.
  apply: iff_trans (iff_sym (@theorem_c_softmax R n (fun _ _ => true) (fun _ _ _ _ _ => isT) o (fun _ => isT) n k 1 1%:M P (oner_neq0 R) (mxrank1 _ _) ((mstochastic_full P).2 sP))) _.
  apply: iff_trans _ (@theorem_a R n n k 1 1%:M P n0 sP (oner_neq0 R) (mxrank1 _ _)).
  by split=> -[Wk [Wq h]]; exists Wk, Wq; rewrite -h msoftmax_full.
by apply/eqP; rewrite eqn_leq; apply/andP; split; apply/H.
Qed.
