(* Causal attention: almost every P needs floor(n/2); the worst case needs n - 1. *)
From mathcomp Require Import all_ssreflect all_algebra zify.
From rankbound Require Import model exponential linalg almost_all log_rank softmax_gauge theorem_a theorem_c theorem_c_generic theorem_c_softmax.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section FirstRow.
Variables (F : fieldType) (m n : nat) (vis : 'I_m.+1 -> 'I_n -> bool).

(* a zero first row is not new and may be dropped *)
Lemma new_rows_drop (D : 'M[F]_(m.+1, n)) : row ord0 D = 0 ->
  new_rows vis D = new_rows (fun i => vis (lift ord0 i)) (row' ord0 D).
Proof.
move=> D0; rewrite /new_rows big_ord_recl /new_row D0 mul0mx sub0mx add0n.
apply: eq_bigr => i _; congr (nat_of_bool (~~ _)).
have -> : row (lift ord0 i) D = row i (row' ord0 D) by apply/rowP => j; rewrite !mxE.
have e : (rows_before D (lift ord0 i) :=: rows_before (row' ord0 D) i)%MS.
  apply/eqmxP/andP; split; apply/row_subP => l.
    case: (unliftP ord0 l) => [l' | ] ->.
      have -> : row (lift ord0 l') (rows_before D (lift ord0 i)) = row l' (rows_before (row' ord0 D) i).
        by apply/rowP => j; rewrite [LHS]mxE [RHS]mxE !rows_beforeE [row' _ _ _ _]mxE.
      exact: row_sub.
    have -> : row ord0 (rows_before D (lift ord0 i)) = 0.
      by apply/rowP => j; rewrite [LHS]mxE rows_beforeE; have /rowP/(_ j) := D0; rewrite !mxE => ->; rewrite mul0rn.
    exact: sub0mx.
  have -> : row l (rows_before (row' ord0 D) i) = row (lift ord0 l) (rows_before D (lift ord0 i)).
    by apply/rowP => j; rewrite [LHS]mxE [RHS]mxE !rows_beforeE [row' _ _ _ _]mxE.
  exact: row_sub.
by rewrite (eqmxMr _ e).
Qed.
End FirstRow.

Lemma count_lt q n : (q <= n)%N -> (\sum_(i < n) (i < q)%N)%N = q.
Proof.
move=> qn; have := big_ord_narrow qn (op := addn) (idx := 0%N) (F := fun=> 1%N).
rewrite /= [RHS]sum_nat_const card_ord muln1; apply: etrans.
by rewrite [RHS]big_mkcond; apply: eq_bigr => i _; case: (i < q)%N.
Qed.

Lemma count_ge q n : (q <= n)%N -> (\sum_(i < n) (q <= i)%N)%N = (n - q)%N.
Proof.
move=> qn; apply/eqP; rewrite -(eqn_add2l (\sum_(i < n) (i < q)%N)) -big_split /=.
rewrite (eq_bigr (fun=> 1%N)) => [|i _]; last by case: ltnP.
by rewrite sum_nat_const card_ord muln1 count_lt // subnKC.
Qed.

Lemma sum_half n : (\sum_(i < n) (i < n - i)%N)%N = (n.+1)./2.
Proof.
rewrite -[RHS](@count_lt _ n); last by lia.
by apply: eq_bigr => i _; congr nat_of_bool; have := ltn_ord i; lia.
Qed.

Section Causal.
Variables (R : expField) (n : nat).
Local Notation N := n.+1.
(* powers of distinct numbers below a zero row *)
Definition tilt : 'M[R]_N := \matrix_(i, j) (if i == ord0 then 0 else j%:R ^+ i.-1).

(* N tokens: the masked log-rank of the causal softmax of A + t tilt is floor(N/2), for all t but finitely
   many *)
Theorem causal_generic (A : 'M[R]_N) : almost_all (fun t : R =>
  masked_logrank causal ord0 (msoftmax causal (A + t *: tilt)) = N./2).
Proof.
pose D : 'M[R]_N := \matrix_(i, j) (A i j - A ord0 j).
have xI : injective (fun j : 'I_N => j%:R : R) by move=> i j /eqP; rewrite eqr_nat => /eqP/val_inj.
have [p [p0 _ h]] := generic_rows (fun i => causal (lift ord0 i)) xI (row' ord0 D).
have [s hs] := almost_all_nonroots p0; exists s => t /hs/h {h} nr; rewrite /masked_logrank.
rewrite (new_rows_ext (@causal_nested N) (D' := D + t *: tilt)); last first.
  move=> i j v; have v0 : @causal N ord0 j by [].
  by rewrite log_ratioE // !mxE eqxx mulr0 addr0 addrAC.
rewrite new_rows_drop; last by apply/rowP => j; rewrite !mxE subrr eqxx mulr0 addr0.
have -> : row' ord0 (D + t *: tilt) = row' ord0 D + t *: powers n (fun j : 'I_N => j%:R : R).
  by apply/matrixP => i j; rewrite !mxE.
rewrite -[RHS]/(n.+1./2) -sum_half; apply: eq_bigr => i _; rewrite nr; congr (nat_of_bool (_ < _)%N).
rewrite -sum1_card -[RHS]subSS -(@count_ge i.+1 n.+1) ?ltnS 1?ltnW // big_mkcond.
by apply: eq_bigr => j _; rewrite inE /causal lift0; case: (i < j)%N.
Qed.
(* N - 1 at P proportional to e^(a I) on the mask, a <> 0, and never more *)
Theorem causal_worst (a : R) : a != 0 ->
  masked_logrank causal ord0 (msoftmax causal (a%:M : 'M_N)) = n /\
  forall P : 'M[R]_N, (masked_logrank causal ord0 P <= n)%N.
Proof.
move=> a0; split=> [|P]; last exact: (@masked_logrank_le R N causal ord0 P).
 pose D : 'M[R]_N := \matrix_(i, j) (if i == ord0 then 0 else a *+ (i == j)).
rewrite /masked_logrank (new_rows_ext (@causal_nested N) (D' := D)); last first.
  move=> i j v; rewrite log_ratioE // !mxE; case: (i =P ord0) v => [-> | i0 v]; first by rewrite subrr.
  have -> : (ord0 == j) = false; last by rewrite mulr0n subr0.
  by apply/negP => /eqP j0; case: i0; apply: val_inj; move: v; rewrite /causal -j0 leqn0 => /eqP.
rewrite new_rows_drop; last by apply/rowP => j; rewrite !mxE.
rewrite /new_rows (eq_bigr (fun=> 1%N)) ?sum_nat_const ?card_ord ?muln1 // => i _.
suff -> : new_row (fun i => causal (lift ord0 i)) (row' ord0 D) i by [].
apply/negP => /submxP [u /matrixP/(_ 0 (lift ord0 i))].
have v : causal (lift ord0 i) (lift ord0 i) by exact: leqnn.
rewrite mulmxA !keep_visibleE v !mulr1n !mxE eqxx mulr1n /= big1 => [/eqP|l _]; first by rewrite (negPf a0).
rewrite rows_beforeE !mxE /=; case: (ltnP l i) => li; rewrite ?mulr0n ?mulr0 //.
rewrite (inj_eq (@lift_inj _ ord0)); have -> : (l == i) = false by apply/negP => /eqP e; rewrite e ltnn in li.
by rewrite mulr0n mul0rn mulr0.
Qed.
End Causal.
