(* Theorem C for any nested mask: keys ordered by pi, queries in any order. Queries that see one key impose
   nothing and are dropped; so causal attention with left padding has the size of the tokens alone. *)
From mathcomp Require Import all_ssreflect fingroup perm all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_c theorem_c_softmax.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Dropped.
Variables (R : expField) (n : nat) (vis : 'I_n -> 'I_n -> bool) (pi : 'S_n) (anchor : 'I_n).
Variable kept : pred 'I_n.
(* in the order pi(0), pi(1), ... of the keys, the sets of kept queries that see them decrease *)
Local Notation seen := (fun i j => kept j && vis (pi i) j).
Hypothesis nest : nested seen.
Hypothesis anchor_seen : forall j, kept j -> vis anchor j.
Hypothesis dropped : forall j, ~~ kept j -> forall i l, vis i j -> vis l j -> i = l.

Lemma mxrank_row_perm m p (s : 'S_m) (A : 'M[R]_(m, p)) : \rank (row_perm s A) = \rank A.
Proof. by rewrite row_permE (eqmxMfull A) // row_full_unit unitmx_perm. Qed.

(* the new rows among the kept queries, rows in the order pi *)
Local Notation kept_logrank P := (new_rows seen (row_perm pi (log_ratio anchor P))).

(* for every X and s: at most the head size *)
Theorem dropped_necessary d k s (X : 'M[R]_(d, n)) P : mstochastic vis P ->
  mreachable vis k s X P -> (kept_logrank P <= k)%N.
Proof.
move=> sP [Wk [Wq /(msoftmax_eq _ sP) [c h]]]; apply/(completion_rank nest _ k); move: h.
have: (\rank (logits s X Wk Wq) <= k)%N.
  rewrite /logits scalemxAr; apply: leq_trans (mxrankM_maxl _ _) _.
  by rewrite mxrank_tr rank_leq_row.
move: (logits _ _ _ _) => L rL h.
exists (row_perm pi ((1%:M - ones R n *m delta_mx 0 anchor) *m L)).
  move=> i j /andP [/anchor_seen va v].
  rewrite [LHS]mxE mulmxBl mul1mx -mulmxA -rowE [LHS]mxE [X in _ + X]mxE onesE !mxE.
  by rewrite !h // opprD addrACA subrr addr0.
by rewrite mxrank_row_perm; apply: leq_trans (mxrankM_maxr _ _) rL.
Qed.

(* X of full column rank, s <> 0: P is the masked context of a head of size k iff the count is at most k *)
Theorem theorem_c_dropped d k s (X : 'M[R]_(d, n)) P : s != 0 -> \rank X = n -> mstochastic vis P ->
  mreachable vis k s X P <-> (kept_logrank P <= k)%N.
Proof.
move=> s0 rX sP; split=> [| /(completion_rank nest _ k) [M hM rM]]; first exact: dropped_necessary.
have fX : row_full X by rewrite /row_full rX.
pose L := row_perm pi^-1 M.
have [||| Wk [Wq e]] := @logits_factor _ d n k X L; rewrite ?submx_full //.
  by rewrite mxrank_row_perm.
exists Wk, (s^-1 *: Wq); apply/msoftmax_eq => //.
exists (\row_j if kept j then - ln (P anchor j) else \sum_(l | vis l j) (L l j - ln (P l j))) => i j v.
rewrite /logits -scalemxAl -scalemxAr scalerA divff // scale1r e [X in _ + X]mxE.
case: (boolP (kept j)) => kj; first by rewrite mxE hM ?permKV ?kj // !mxE permKV.
rewrite (big_pred1 i) => [|l]; first by rewrite addrC subrK.
apply/idP/eqP => [vl | -> //].
exact: dropped kj _ _ vl v.
Qed.
End Dropped.

(* no query dropped: Theorem C, rows in the order pi *)
Corollary theorem_c_ordered (R : expField) n (vis : 'I_n -> 'I_n -> bool) (pi : 'S_n) (anchor : 'I_n)
    d k s (X : 'M[R]_(d, n)) P : nested (fun i => vis (pi i)) -> (forall j, vis anchor j) ->
  s != 0 -> \rank X = n -> mstochastic vis P ->
  mreachable vis k s X P <->
  (new_rows (fun i => vis (pi i)) (row_perm pi (log_ratio anchor P)) <= k)%N.
Proof. by move=> nest seen; apply: (@theorem_c_dropped R n vis pi anchor xpredT). Qed.

(* Left padding: q tokens of padding, which see themselves alone, before n + 1 tokens that attend causally to
   each other. *)
Definition padded q n (i j : 'I_(q + n.+1)) := ((i == j) || (q <= i <= j))%N.

Section Padding.
Variables (R : expField) (q n d k : nat) (s : R) (X : 'M[R]_(d, q + n.+1)) (P : 'M[R]_(q + n.+1)).
Hypothesis sP : mstochastic (@padded q n) P.

Lemma padded_real (i j : 'I_n.+1) : padded (rshift q i) (rshift q j) = causal i j.
Proof.
rewrite /padded /causal /= leq_addr leq_add2l (inj_eq (@rshift_inj _ _)) /=.
by case: eqP => [-> | //]; rewrite leqnn.
Qed.

Lemma padded_stochastic : mstochastic (@causal n.+1) (drsubmx P).
Proof.
case: sP => P0 Ph P1; split=> [i j v | i j v | j].
- by rewrite !mxE P0 // padded_real.
- by rewrite !mxE Ph // padded_real.
rewrite -(P1 (rshift q j)) big_split_ord /= [X in _ = X + _]big1 ?add0r => [|i _].
  by apply: eq_bigr => i _; rewrite !mxE.
rewrite Ph //; apply/negP => /orP [/eqP/(congr1 val)/= e | /andP [/=]].
  by have := ltn_ord i; rewrite e ltnNge leq_addr.
by rewrite leqNgt ltn_ord.
Qed.

Lemma logits_right (Wk Wq : 'M[R]_(k, d)) : logits s (rsubmx X) Wk Wq = drsubmx (logits s X Wk Wq).
Proof.
apply/matrixP => i j; rewrite !mxE; congr (s * _); apply: eq_bigr => a _; rewrite !mxE.
by congr (_ * _); apply: eq_bigr => b _; rewrite !mxE.
Qed.

(* the size is that of the causal context of the n + 1 tokens *)
Theorem left_padding : s != 0 -> \rank X = (q + n.+1)%N ->
  mreachable (@padded q n) k s X P <-> (masked_logrank causal ord0 (drsubmx P) <= k)%N.
Proof.
move=> s0 rX; have rX' : \rank (rsubmx X) = n.+1.
  have /row_fullP [Y YX] : row_full X by rewrite /row_full rX.
  apply/eqP; apply/row_fullP; exists (dsubmx Y).
  have := congr1 drsubmx YX; rewrite -{1}[Y]vsubmxK -{1}[X]hsubmxK mul_col_row block_mxKdr => ->.
  by rewrite (@scalar_mx_block _ q n.+1) block_mxKdr.
apply: iff_trans (theorem_c_causal k s0 rX' padded_stochastic).
split=> -[Wk [Wq]].
  move=> /(msoftmax_eq _ sP) [c h]; exists Wk, Wq; apply/(msoftmax_eq _ padded_stochastic).
  exists (\row_j c 0 (rshift q j)) => i j v; rewrite logits_right; move: (logits s X Wk Wq) h => L h.
  by rewrite !mxE h ?padded_real.
move=> /(msoftmax_eq _ padded_stochastic) [c h]; exists Wk, Wq; apply/(msoftmax_eq _ sP).
move: h; rewrite logits_right; move: (logits _ _ _ _) => L h.
exists (row_mx (\row_j (L (lshift _ j) (lshift _ j) - ln (P (lshift _ j) (lshift _ j)))) c) => i j.
case: (split_ordP j) => {}j ->.
  rewrite row_mxEl mxE => /orP [/eqP -> | /andP [qi ij]]; first by rewrite addrC subrK.
  by have := leq_ltn_trans qi (leq_ltn_trans ij (ltn_ord j)); rewrite ltnn.
rewrite row_mxEr; case: (split_ordP i) => {}i ->.
  case/orP => [/eqP/(congr1 val)/= e | /andP [/= qi _]].
    by have := ltn_ord i; rewrite e ltnNge leq_addr.
  by have := leq_ltn_trans qi (ltn_ord i); rewrite ltnn.
by rewrite padded_real => v; have := h i j v; rewrite !mxE.
Qed.
End Padding.
