(* Almost every P under any nested mask, n + 1 keys and K_i the queries that see key i = 0, ..., n: the masked
   log-rank is T = max {i : i <= |K_i|}, and heads of size T have contexts within any ratio of any P. T is
   floor((n + 1)/2) for causal masks, and the larger of that and p - 1 where all see the first p keys. *)
From mathcomp Require Import all_ssreflect all_algebra zify ring.
From rankbound Require Import model exponential linalg almost_all log_rank softmax_gauge theorem_a positive_distance theorem_c theorem_c_softmax theorem_c_generic theorem_c_causal.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Nested.
Variables (R : expField) (n : nat) (vis : 'I_n.+1 -> 'I_n.+1 -> bool).
Hypotheses (nest : nested vis) (first_seen : forall j, vis ord0 j).
Local Notation K := (fun i => #|seen vis i|).

Lemma seen_decr (i l : 'I_n.+1) : (l <= i)%N -> (K i <= K l)%N.
Proof. by move=> li; apply/subset_leq_card/subsetP => j; rewrite !inE; apply: nest. Qed.

(* n + 1 keys, K_i the queries that see key i = 0, ..., n: on each line A + t tilt all but finitely many
   logits have a masked log-rank of max {i : i <= |K_i|} *)
Theorem nested_generic (A : 'M[R]_n.+1) : almost_all (fun t : R =>
  masked_logrank vis ord0 (msoftmax vis (A + t *: tilt R n)) = \max_(i < n.+1 | (i <= K i)%N) i).
Proof.
pose D : 'M[R]_n.+1 := \matrix_(i, j) (A i j - A ord0 j).
have xI : injective (fun j : 'I_n.+1 => j%:R : R) by move=> i j /eqP; rewrite eqr_nat => /eqP/val_inj.
have [p [p0 _ h]] := generic_rows (fun i => vis (lift ord0 i)) xI (row' ord0 D).
have [s hs] := almost_all_nonroots p0; exists s => t /hs/h {h} nr; rewrite /masked_logrank.
rewrite (new_rows_ext nest (D' := D + t *: tilt R n)); last first.
  by move=> i j v; rewrite log_ratioE // !mxE eqxx mulr0 addr0 addrAC.
rewrite new_rows_drop; last by apply/rowP => j; rewrite !mxE subrr eqxx mulr0 addr0.
have -> : row' ord0 (D + t *: tilt R n) = row' ord0 D + t *: powers n (fun j : 'I_n.+1 => j%:R : R).
  by apply/matrixP => i j; rewrite !mxE.
have [|T KT eT] := @eq_bigmax_cond _ (fun i : 'I_n.+1 => i <= K i)%N (fun i => i : nat).
  by apply/card_gt0P; exists ord0.
have -> : \max_(i < n.+1 | (i <= K i)%N) i = T :> nat by exact: eT.
have Tn : (T <= n)%N by rewrite -ltnS.
rewrite /new_rows -[RHS](@count_lt T n) //; apply: eq_bigr => i _; rewrite nr; congr nat_of_bool.
apply/idP/idP => [iK | iT].
  have := @leq_bigmax_cond _ (fun i : 'I_n.+1 => i <= K i)%N (fun i => i : nat) (lift ord0 i).
  by rewrite eT lift0; apply.
have le : (lift ord0 i <= T)%N by rewrite lift0.
by apply: leq_trans iT (leq_trans KT (seen_decr le)).
Qed.
End Nested.

(* prefix p *)
Lemma prefix_nested p n : nested (@prefix p n).
Proof.
move=> i l j li /orP [ip | ij]; apply/orP; first by left; apply: leq_ltn_trans ip.
by right; apply: leq_trans ij.
Qed.

Lemma prefix_count p n : (p <= n.+1)%N ->
  \max_(i < n.+1 | (i <= #|seen (@prefix p n.+1) i|)%N) i = maxn (n.+1)./2 p.-1.
Proof.
move=> pn; have K (i : 'I_n.+1) : #|seen (@prefix p n.+1) i| = if (i < p)%N then n.+1 else (n.+1 - i)%N.
  case: ifP => ip; first by rewrite -[RHS]card_ord; apply: eq_card => j; rewrite !inE /prefix ip.
  rewrite -(@count_ge i n.+1) 1?ltnW // -sum1_card big_mkcond /=.
  by apply: eq_bigr => j _; rewrite inE /prefix ip.
apply/eqP; rewrite eqn_leq; apply/andP; split.
  apply/bigmax_leqP => i; rewrite K leq_max; case: ifP => ip; have := ltn_ord i; lia.
have ge q : (q <= n)%N -> (q < p \/ 2 * q <= n.+1)%N ->
    (q <= \max_(i < n.+1 | (i <= #|seen (@prefix p n.+1) i|)%N) i)%N.
  move=> qn h; have qn' : (q < n.+1)%N by [].
  by apply: (bigmax_sup (Ordinal qn')) => //=; rewrite K /=; case: ifP => qp; lia.
rewrite geq_max; apply/andP; split; [case: n pn K ge => [|n] pn K ge // | ]; apply: ge; lia.
Qed.

(* N = n + 1 tokens under the prefix mask, p <= N: max (floor(N/2), p - 1) *)
Theorem prefix_generic (R : expField) n p (A : 'M[R]_n.+1) : (p <= n.+1)%N -> almost_all (fun t : R =>
  masked_logrank (prefix p) ord0 (msoftmax (prefix p) (A + t *: tilt R n)) = maxn (n.+1)./2 p.-1).
Proof.
move=> pn; rewrite -(prefix_count pn); apply: nested_generic; first exact: prefix_nested.
by move=> j; rewrite /prefix orbT.
Qed.

Section Dense.
Variables (R : expField) (n : nat) (vis : 'I_n -> 'I_n -> bool).

(* masked: logits that rise by at most t move no log-probability by more than t *)
Lemma mlogm_near (A B : 'M[R]_n) t : (forall i j, vis i j -> 0 <= B i j <= t) -> forall i j, vis i j ->
  `|ln (msoftmax vis (A + B) i j) - ln (msoftmax vis A i j)| <= t.
Proof.
move=> hB i j v.
have Z (L : 'M[R]_n) : 0 < \sum_(l | vis l j) expR (L l j).
  rewrite (bigD1 i) //= ltr_paddr ?expR_gt0 //.
  by apply: sumr_ge0 => l _; apply/ltW/expR_gt0.
have E (L : 'M[R]_n) : ln (msoftmax vis L i j) = L i j - ln (\sum_(l | vis l j) expR (L l j)).
  by rewrite mxE v ln_div ?posrE ?expR_gt0 // expK.
have le (x y : R) : x <= y -> expR x <= expR y by rewrite !leNgt ltr_expR.
have lo : ln (\sum_(l | vis l j) expR (A l j)) <= ln (\sum_(l | vis l j) expR ((A + B) l j)).
  apply: ler_ln => //; apply: ler_sum => l vl; apply: le; rewrite [X in _ <= X]mxE ler_addl.
  by case/andP: (hB l j vl).
have hi : ln (\sum_(l | vis l j) expR ((A + B) l j)) <= ln (\sum_(l | vis l j) expR (A l j)) + t.
  rewrite -ln_mulexp //; apply: ler_ln; rewrite ?mulr_gt0 ?expR_gt0 // mulr_suml.
  apply: ler_sum => l vl; rewrite -expRD; apply: le; rewrite [X in X <= _]mxE ler_add2l.
  by case/andP: (hB l j vl).
case/andP: (hB i j v) => b0 bt; rewrite !E [(A + B) i j]mxE.
move: lo hi; set z := ln _; set z' := ln _ => lo hi.
have -> : A i j + B i j - z' - (A i j - z) = B i j - (z' - z) by ring.
rewrite ler_norml; apply/andP; split.
  rewrite ler_subr_addl ler_subl_addl; apply: le_trans (_ : z' - z <= t + B i j).
    by [].
  by rewrite ler_subl_addl addrA; apply: le_trans hi _; rewrite ler_addl.
by apply: le_trans bt; rewrite ler_subl_addl ler_addr subr_ge0.
Qed.
End Dense.

Lemma pow_le a b n : (a <= n -> b <= n -> a ^ b.-1 <= n ^ n)%N.
Proof.
case: n => [|n] an bn; first by move: an bn; rewrite !leqn0 => /eqP -> /eqP ->.
apply: leq_trans (_ : n.+1 ^ b.-1 <= _)%N; last by rewrite leq_pexp2l // (leq_trans (leq_pred b)).
by case: b.-1 => [|e]; rewrite ?expn0 // leq_exp2r.
Qed.

(* nested mask, first key seen by all, X of full column rank: heads of size max {i : i <= |K_i|} have contexts
   within any ratio of any P *)
Theorem nested_dense (R : expField) n (vis : 'I_n.+1 -> 'I_n.+1 -> bool) d s (X : 'M[R]_(d, n.+1)) P (e : R) :
  nested vis -> (forall j, vis ord0 j) -> s != 0 -> \rank X = n.+1 -> mstochastic vis P -> 0 < e ->
  exists Q : 'M[R]_n.+1, [/\ mreachable vis (\max_(i < n.+1 | (i <= #|seen vis i|)%N) i) s X Q,
    forall i j, ~~ vis i j -> Q i j = 0 &
    forall i j, vis i j -> 0 < Q i j /\ `|ln (Q i j) - ln (P i j)| <= e].
Proof.
move=> nest first s0 rX sP e0; pose M : R := (n ^ n).+1%:R.
have M0 : 0 < M by rewrite ltr0n.
have [t ht /andP [t0 te]] := almost_all_small (nested_generic nest first (logm P)) (divr_gt0 e0 M0).
have seen_some j : exists i, vis i j by exists ord0.
have sQ := msoftmax_stochastic (logm P + t *: tilt R n) seen_some.
exists (msoftmax vis (logm P + t *: tilt R n)); split.
- apply/(@theorem_c_softmax R n.+1 vis nest ord0 first d _ s X _ s0 rX sQ); first by rewrite ht.
- by case: sQ.
move=> i j v; split; first by case: sQ => Q0 _ _; apply: Q0.
have e' : msoftmax vis (logm P) = P.
  by apply/(msoftmax_eq _ sP); exists 0 => i' j' _; rewrite !mxE addr0.
have := @mlogm_near R n.+1 vis (logm P) (t *: tilt R n) e; rewrite e'; apply=> // i' j' _.
rewrite !mxE; case: eqP => _; first by rewrite mulr0 lexx ltW.
rewrite mulr_ge0 ?exprn_ge0 ?ler0n ?(ltW t0) //=; apply: le_trans (ler_wpmul2r _ te) _.
  by rewrite exprn_ge0 ?ler0n.
rewrite mulrAC ler_pdivr_mulr // ler_wpmul2l ?(ltW e0) // -natrX ler_nat.
apply: leq_trans (leqnSn _); have := ltn_ord i'; have := ltn_ord j'; rewrite !ltnS => jn i'n.
exact: pow_le.
Qed.

(* causal: size floor(N/2) is enough to come within any ratio of any P on N = n + 1 tokens *)
Corollary causal_dense (R : expField) n d s (X : 'M[R]_(d, n.+1)) P (e : R) :
  s != 0 -> \rank X = n.+1 -> mstochastic causal P -> 0 < e ->
  exists Q : 'M[R]_n.+1, [/\ mreachable causal (n.+1)./2 s X Q, forall i j, ~~ causal i j -> Q i j = 0 &
    forall i j, causal i j -> 0 < Q i j /\ `|ln (Q i j) - ln (P i j)| <= e].
Proof.
move=> s0 rX sP e0; have := nested_dense (@causal_nested n.+1) (fun=> isT) s0 rX sP e0.
have -> // : \max_(i < n.+1 | (i <= #|seen (@causal n.+1) i|)%N) i = (n.+1)./2.
have := @prefix_count 0 n isT; rewrite maxn0 => <-.
by apply: eq_bigl => i; congr (_ <= _)%N; apply: eq_card => j; rewrite !inE.
Qed.
