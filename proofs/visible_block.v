(* Blocks of keys that a set of queries sees in full, under any mask: the rank of the centred block of log P is at
   most the head size, and smaller heads stay at a positive distance. So below floor(N/2) almost every causal
   context of N tokens stays at a positive distance from all heads. *)
From mathcomp Require Import all_ssreflect all_algebra zify.
From rankbound Require Import model exponential linalg almost_all log_rank softmax_gauge theorem_a positive_distance theorem_c_softmax theorem_c_causal.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Block.
Variables (R : expField) (n a b : nat) (vis : 'I_n -> 'I_n -> bool) (f : 'I_a -> 'I_n) (g : 'I_b -> 'I_n).
Hypotheses (a0 : (0 < a)%N) (seen_block : forall i j, vis (f i) (g j)).
Implicit Types P Q : 'M[R]_n.
(* the block of log P, constants taken from its columns *)
Local Notation block P := (centre R a *m mxsub f g (logm P)).

(* any mask, keys f(i) that all the queries g(j) see: the rank of the centred block is at most the head size *)
Theorem visible_block d k s (X : 'M[R]_(d, n)) P : mstochastic vis P -> mreachable vis k s X P ->
  (\rank (block P) <= k)%N.
Proof.
move=> sP [Wk [Wq /(msoftmax_eq _ sP) [c]]]; rewrite /logits.
move: (Wk *m X) (Wq *m X) => A B h.
have -> : mxsub f g (logm P) = (colsub f A)^T *m (s *: colsub g B) - ones R a *m colsub g c.
  apply/matrixP => i j; have := h _ _ (seen_block i j); rewrite !mxE big_ord1 !mxE mul1r => e; apply/esym/eqP; rewrite subr_eq -e; apply/eqP.
  by rewrite mulr_sumr; apply: eq_bigr => t _; rewrite !mxE mulrCA.
rewrite mulmxBr [X in _ - X]mulmxA centre_ones ?nR0 // mul0mx subr0.
apply: leq_trans (mxrankM_maxr _ _) (leq_trans (mxrankM_maxl _ _) _).
by rewrite mxrank_tr rank_leq_row.
Qed.

(* so a head of a smaller size stays at a positive distance on the block, whatever the tokens and the scale *)
Theorem visible_block_distance P k : (k < \rank (block P))%N -> exists2 e, 0 < e &
  forall d s (X : 'M_(d, n)) Q, mstochastic vis Q -> mreachable vis k s X Q ->
    exists i j, e < `|ln (Q (f i) (g j)) - ln (P (f i) (g j))|.
Proof.
move=> lt; have [e e0 h] := rank_open (centre R a) (mxsub f g (logm P)); exists e => // d s X Q sQ hQ.
have [/existsP [i /existsP [j lt']] | /existsPn near] :=
  boolP [exists i, exists j, e < `|ln (Q (f i) (g j)) - ln (P (f i) (g j))|]; first by exists i, j.
have /(leq_trans lt) : (\rank (block P) <= \rank (block Q))%N.
  by apply: h => i j; have /existsPn/(_ j) := near i; rewrite !mxE -leNgt.
by rewrite ltnNge (visible_block sQ hQ).
Qed.
End Block.

Section Causal.
Variables (R : expField) (n : nat).
Local Notation T := (n.+1)./2.
(* keys 0, ..., T, seen by all the queries T, ..., n *)
Definition early (i : 'I_T.+1) : 'I_n.+1 := inord i.
Definition late (j : 'I_(n.+1 - T)) : 'I_n.+1 := inord (T + j).

Lemma earlyE i : early i = i :> nat.
Proof. by rewrite inordK //; have := ltn_ord i; lia. Qed.
Lemma lateE j : late j = (T + j)%N :> nat.
Proof. by rewrite inordK //; have := ltn_ord j; lia. Qed.

Lemma block_seen i j : causal (early i) (late j).
Proof. by rewrite /causal earlyE lateE; have := ltn_ord i; lia. Qed.

(* the rows below the first less the first *)
Definition less_first : 'M[R]_(T, T.+1) := \matrix_(i, l) ((l == lift ord0 i)%:R - (l == ord0)%:R).

Lemma less_firstE b (M : 'M[R]_(T.+1, b)) i j : (less_first *m M) i j = M (lift ord0 i) j - M ord0 j.
Proof.
rewrite mxE; under eq_bigr do rewrite mxE mulrBl.
rewrite sumrB; congr (_ - _).
  by rewrite (bigD1 (lift ord0 i)) //= eqxx mul1r big1 ?addr0 // => l /negPf ->; rewrite mul0r.
by rewrite (bigD1 ord0) //= ?eqxx mul1r big1 ?addr0 // => l /negPf ->; rewrite mul0r.
Qed.

Lemma tilt_block_rank : (T <= \rank (centre R T.+1 *m mxsub early late (tilt R n)))%N.
Proof.
apply: leq_trans (mxrankM_maxr less_first _).
have -> : less_first *m (centre R T.+1 *m mxsub early late (tilt R n)) = less_first *m mxsub early late (tilt R n).
  rewrite mulmxA; congr (_ *m _); rewrite mulmxBr mulmx1 -scalemxAr [less_first *m (_ *m _)]mulmxA.
  have -> : less_first *m ones R T.+1 = 0.
    by apply/matrixP => i j; rewrite less_firstE !mxE subrr.
  by rewrite mul0mx scaler0 subr0.
set W := less_first *m _; suff: row_free W by move=> /eqP e; rewrite leq_eqVlt {1}e eqxx.
apply: inj_row_free => u uW.
apply: (@vandermonde R T _ (fun j : 'I_(n.+1 - T) => (T + j)%:R) setT) => [i j /eqP | | j _].
- by rewrite eqr_nat eqn_add2l => /eqP/val_inj.
- by rewrite cardsT card_ord; lia.
have /matrixP/(_ 0 j) := uW; rewrite mxE [RHS]mxE; apply: etrans; apply: eq_bigr => i _.
rewrite less_firstE !mxE -val_eqE /= earlyE lift0 /= lateE.
by rewrite -val_eqE /= earlyE eqxx subr0.
Qed.

(* heads of a size below floor(N/2), N = n + 1 tokens, causal: on each line A + t tilt almost every context is at
   a positive distance from the contexts of all of them, any tokens, any scale *)
Theorem causal_distance (A : 'M[R]_n.+1) : almost_all (fun t : R => forall k, (k < T)%N ->
  exists2 e, 0 < e & forall d s (X : 'M_(d, n.+1)) Q, mreachable causal k s X Q ->
    exists i j, causal i j /\ e < `|ln (Q i j) - ln (msoftmax causal (A + t *: tilt R n) i j)|).
Proof.
have [p [p0 _ h]] := generic_rank (centre R T.+1 *m mxsub early late A)
  (centre R T.+1 *m mxsub early late (tilt R n)).
have [s hs] := almost_all_nonroots p0; exists s => t /hs/h {h hs s} rk k kT.
set L := A + t *: tilt R n.
have seen_some (j : 'I_n.+1) : exists i, causal i j by exists (ord0 : 'I_n.+1).
have [c e] := (msoftmax_eq L (msoftmax_stochastic L seen_some)).1 erefl.
have lt : (k < \rank (centre R T.+1 *m mxsub early late (logm (msoftmax causal L))))%N.
  apply: leq_trans kT (leq_trans tilt_block_rank (leq_trans rk (eq_leq _))); congr (\rank _).
  have -> : mxsub early late (logm (msoftmax causal L)) = mxsub early late L - ones R T.+1 *m colsub late c.
    apply/matrixP => i j; have ee := e _ _ (block_seen i j).
    have -> : (mxsub early late L - ones R T.+1 *m colsub late c) i j = L (early i) (late j) - c 0 (late j).
      by rewrite mxE [X in _ + X]mxE onesE; congr (_ - _); rewrite mxE.
    by rewrite ee addrK [LHS]mxE [LHS]mxE.
  rewrite mulmxBr [X in _ - X]mulmxA centre_ones ?nR0 // mul0mx subr0 /L scalemxAr -mulmxDr.
  by congr (_ *m _); apply/matrixP => i j; rewrite !mxE.
have [x x0 far] := visible_block_distance (ltn0Sn _) block_seen lt; exists x => // d s X Q hQ.
have sQ : mstochastic causal Q by case: hQ => Wk [Wq <-]; apply: msoftmax_stochastic.
by have [i [j ij]] := far d s X Q sQ hQ; exists (early i), (late j); split; first exact: block_seen.
Qed.
End Causal.
