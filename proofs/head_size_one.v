(* Heads of size 1: key i has the number k i, query j the number q j, the score is q j * k i; at the
   end the same for the logits of a head on tokens X.
   Without a mask at most two keys can be the strict favourite of some query.
   With a causal mask (query j sees the keys i <= j) and a strict favourite demanded:
     "c tokens back" (query j >= c wants key j - c), c >= 2, is impossible iff n >= c + 3;
     "the previous token" (c = 1) is possible for every n: keys 1, -2, 3, -4, ...
   Reason: two queries that both see each other's target have opposite signs. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section HeadSizeOne.
Variable R : realDomainType.

Lemma opposite_signs (x y a b : R) : x * b < x * a -> y * a < y * b -> x * y < 0.
Proof.
rewrite -subr_gt0 -mulrBr => h; rewrite -subr_gt0 -mulrBr => h'.
have := mulr_gt0 h h'; rewrite mulrACA -[b - a]opprB mulrN mulrN oppr_gt0.
by rewrite pmulr_llt0 // lt_def mulf_neq0 ?sqr_ge0 -?expr2 ?sqr_ge0 //;
  apply: contraTneq h => ->; rewrite mulr0 ltxx.
Qed.

Lemma three_signs (x y z : R) : x * y < 0 -> y * z < 0 -> z * x < 0 -> False.
Proof.
move=> xy yz zx; have : 0 < x * y * (y * z) by rewrite nmulr_rgt0.
rewrite [y * z]mulrC mulrACA [x * z]mulrC ltNge => /negP; apply.
by rewrite nmulr_rle0 // -expr2 sqr_ge0.
Qed.

(* Head size 1, no mask: at most two keys are the strict favourite of some query. *)
Theorem two_winners n (k : 'I_n -> R) (S : {set 'I_n}) :
  (forall t, t \in S -> exists x : R, forall i, i != t -> x * k i < x * k t) -> (#|S| <= 2)%N.
Proof.
move=> h; rewrite leqNgt; apply/negP => /card_gt2P [a [b [c [[aS bS cS] [ab bc ca]]]]].
have [x hx] := h a aS; have [y hy] := h b bS; have [z hz] := h c cS.
by apply: (@three_signs x y z);
  [apply: (@opposite_signs _ _ (k a) (k b)) | apply: (@opposite_signs _ _ (k b) (k c)) |
   apply: (@opposite_signs _ _ (k c) (k a))];
  first [apply: hx | apply: hy | apply: hz]; rewrite // eq_sym.
Qed.

(* every query j = t + c strictly prefers key t among the keys i <= j *)
Definition looks_back n c (k q : 'I_n -> R) := forall j t : 'I_n, (j = t + c :> nat)%N ->
  forall i : 'I_n, (i <= j)%N -> i != t -> q j * k i < q j * k t.

(* c >= 2, n >= c + 3: in no head of size 1 does every query j >= c strictly prefer key j - c among the
   keys i <= j. *)
Theorem looks_back_impossible n c (k q : 'I_n -> R) :
  (2 <= c)%N -> (c + 3 <= n)%N -> ~ looks_back c k q.
Proof.
move=> c2 cn h.
have lt a : (a <= 2)%N -> (a < n)%N by move=> a2; apply: leq_ltn_trans a2 (leq_trans (leq_addl c 3) cn).
have ltc a : (a <= 2)%N -> (a + c < n)%N by move=> a2; apply: leq_trans cn; rewrite addnC -addnS leq_add2l ltnS.
pose t a (a2 : (a <= 2)%N) := Ordinal (lt a a2); pose j a (a2 : (a <= 2)%N) := Ordinal (ltc a a2).
have sg a b (a2 : (a <= 2)%N) (b2 : (b <= 2)%N) : a != b -> q (j a a2) * q (j b b2) < 0.
  move=> ab; apply: (@opposite_signs _ _ (k (t a a2)) (k (t b b2))); apply: h => //=.
  - by apply: leq_trans b2 (leq_trans c2 (leq_addl _ _)).
  - by rewrite eq_sym.
  - by apply: leq_trans a2 (leq_trans c2 (leq_addl _ _)).
exact: (three_signs (sg 0%N 1%N isT isT isT) (sg 1%N 2%N isT isT isT) (sg 2%N 0%N isT isT isT)).
Qed.

(* the count is sharp *)
Theorem looks_back_short n c : (0 < c)%N -> (n <= c + 2)%N -> exists k q : 'I_n -> R, looks_back c k q.
Proof.
move=> c0 nc; exists (fun i => if (i == 0 :> nat)%N then 1 else if (i == 1 :> nat)%N then -1 else 0).
exists (fun j => if (j == c :> nat)%N then 1 else -1) => j t e i ij it.
have t1 : (t <= 1)%N by move: (leq_trans (ltn_ord j) nc); rewrite e addnC ltn_add2l.
have it' : (i != t :> nat)%N by [].
move: it'; rewrite e; case: (nat_of_ord t) t1 => [|[|//]] _.
  by rewrite add0n !eqxx !mul1r => /negPf ->; case: ifP => _; rewrite ?ltr01 // (lt_trans _ ltr01) // oppr_lt0 ltr01.
have -> : (1 + c == c)%N = false by rewrite -{2}[c]add0n eqn_add2r.
rewrite /= !mulN1r opprK => i1; rewrite (negPf i1).
by case: ifP => _; rewrite ?oppr0 ?ltr01 // (lt_trans _ ltr01) // oppr_lt0 ltr01.
Qed.

(* For every n, in some head of size 1 every query j >= 1 strictly prefers key j - 1 among the keys
   i <= j. *)
Theorem previous_token n : exists k q : 'I_n -> R, looks_back 1 k q.
Proof.
exists (fun i => (-1) ^+ i * i.+1%:R), (fun j => (-1) ^+ j.+1) => j t e i ij it.
have -> : (-1) ^+ j.+1 * ((-1) ^+ t * t.+1%:R) = t.+1%:R :> R.
  by rewrite e addn1 mulrA -exprD -signr_odd !addSn !oddS oddD addbb /= mul1r.
have it' : (i != t :> nat)%N by [].
apply: (@le_lt_trans _ _ (if (i == j :> nat) then - i.+1%:R else i.+1%:R)); last first.
  case: eqP => [_ | ne]; first by rewrite (lt_trans _ (ltr0Sn _ _)) // oppr_lt0 ltr0Sn.
  rewrite ltr_nat ltnS ltn_neqAle it' /=; rewrite -ltnS -[t.+1]addn1 -e ltn_neqAle ij andbT; exact/eqP.
case: eqP => [-> | _].
  by rewrite mulrA -exprD -signr_odd addSn oddS oddD addbb /= expr1 mulN1r.
rewrite mulrA -exprD -signr_odd; case: odd; rewrite ?expr0 ?mul1r // expr1 mulN1r.
by rewrite (le_trans _ (ler0n _ _)) // oppr_le0 ler0n.
Qed.
End HeadSizeOne.

(* the logits of a head of size 1 are such scores *)
Section Heads.
Variables (R : expField) (d n : nat) (s : R) (X : 'M[R]_(d, n)).

Lemma logits1 (Wk Wq : 'M_(1, d)) i j :
  logits s X Wk Wq i j = s * (Wq *m X) 0 j * (Wk *m X) 0 i.
Proof. by rewrite mxE mxE big_ord1 mxE mulrAC mulrA. Qed.

(* without a mask at most two keys are the strict favourite of some query *)
Corollary head_two_winners (Wk Wq : 'M_(1, d)) (S : {set 'I_n}) :
  (forall t, t \in S -> exists j, forall i, i != t -> logits s X Wk Wq i j < logits s X Wk Wq t j) ->
  (#|S| <= 2)%N.
Proof.
move=> h; apply: (@two_winners R n (fun i => (Wk *m X) 0 i)) => t /h [j hj].
by exists (s * (Wq *m X) 0 j) => i /hj; rewrite !logits1.
Qed.

(* c >= 2 tokens back, n >= c + 3: no head of size 1 *)
Corollary head_looks_back_impossible c (Wk Wq : 'M_(1, d)) :
  (2 <= c)%N -> (c + 3 <= n)%N -> ~ head_looks_back s X c Wk Wq.
Proof.
move=> c2 cn h; apply: (@looks_back_impossible R n c (fun i => (Wk *m X) 0 i) (fun j => s * (Wq *m X) 0 j)) => //.
by move=> j t e i ij it; have := h j t e i ij it; rewrite !logits1.
Qed.

(* X of full column rank, c = 1, or c >= 1 and n <= c + 2: some head of size 1 *)
Corollary head_looks_back_possible c : s != 0 -> \rank X = n ->
  (c = 1 \/ 0 < c /\ n <= c + 2)%N -> exists Wk Wq : 'M_(1, d), head_looks_back s X c Wk Wq.
Proof.
move=> s0 rX hc; have /row_fullP [Y YX] : row_full X by rewrite /row_full rX.
have [k [q h]] : exists k q : 'I_n -> R, looks_back c k q.
  by case: hc => [-> | [c0 nc]]; [exact: previous_token | exact: looks_back_short].
exists ((\row_i k i) *m Y), (s^-1 *: ((\row_j q j) *m Y)) => j t e i ij it; rewrite !logits1.
by rewrite -scalemxAl -!mulmxA YX !mulmx1 !mxE mulVKf // h.
Qed.
End Heads.
