(* The contexts of log-rank at least r are an open set: heads that are too small for P stay at a positive
   distance from P, the same for all tokens and scales. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Rank.
Variable R : realFieldType.

(* I + E is invertible where the rows of |E| sum to less than 1 *)
Lemma near_one r (E : 'M[R]_r) : (forall i, \sum_j `|E i j| < 1) -> row_free (1%:M + E).
Proof.
move=> lt1; apply: inj_row_free => u; rewrite mulmxDr mulmx1 => /eqP; rewrite addr_eq0 => /eqP e.
have le : \sum_i `|u 0 i| * (1 - \sum_j `|E i j|) <= 0.
  under eq_bigr do rewrite mulrBr mulr1 mulr_sumr; rewrite sumrB subr_le0 exchange_big /=.
  apply: ler_sum => j _; rewrite [in X in X <= _]e mxE normrN mxE; apply: le_trans (ler_norm_sum _ _ _) _.
  by apply: ler_sum => i _; rewrite normrM.
have ge i : true -> 0 <= `|u 0 i| * (1 - \sum_j `|E i j|) by rewrite mulr_ge0 // subr_ge0 ltW.
have /(psumr_eq0P ge) z : \sum_i `|u 0 i| * (1 - \sum_j `|E i j|) = 0.
  by apply/eqP; rewrite eq_le le sumr_ge0 // => i; apply: ge.
apply/rowP => i; rewrite mxE; have /eqP := z i isT.
by rewrite mulf_eq0 subr_eq0 (gt_eqF (lt1 i)) orbF normr_eq0 => /eqP.
Qed.

(* rank C B >= rank C A for all B that are near A, entry by entry *)
Lemma rank_open l m n (C : 'M[R]_(l, m)) (A : 'M[R]_(m, n)) : exists2 e, 0 < e &
  forall B : 'M_(m, n), (forall i j, `|B i j - A i j| <= e) -> (\rank (C *m A) <= \rank (C *m B))%N.
Proof.
have [G [H GH]] := rank_section (C *m A); set r := \rank (C *m A) in G H GH *.
pose K i j := \sum_a \sum_b `|(G *m C) i a| * `|H b j|; pose T := \sum_i \sum_j K i j.
have K0 i j : 0 <= K i j by apply: sumr_ge0 => a _; apply: sumr_ge0 => b _; rewrite mulr_ge0.
have T0 : 0 <= T by apply: sumr_ge0 => i _; apply: sumr_ge0.
have T1 : 0 < T + 1 by rewrite ltr_paddl.
have [e e0 eT] : exists2 e, 0 < e & e * T < 1.
  by exists (T + 1)^-1; rewrite ?invr_gt0 // mulrC ltr_pdivr_mulr // mul1r ltr_addl.
exists e => // B near.
have : row_free (G *m (C *m B) *m H).
  have -> : G *m (C *m B) *m H = 1%:M + G *m C *m (B - A) *m H.
    by rewrite -GH -!mulmxA mulmxBl !mulmxBr addrC subrK.
  apply: near_one => i; apply: le_lt_trans eT.
  rewrite /T mulr_sumr [X in _ <= X](bigD1 i) //= ler_paddr //.
    by apply: sumr_ge0 => i' _; rewrite mulr_ge0 ?sumr_ge0 // ltW.
  rewrite mulr_sumr; apply: ler_sum => j _; rewrite mxE /K exchange_big mulr_sumr /=.
  apply: le_trans (ler_norm_sum _ _ _) _; apply: ler_sum => b _.
  rewrite mxE normrM -mulr_suml mulrA ler_wpmul2r // mulr_sumr.
  apply: le_trans (ler_norm_sum _ _ _) _; apply: ler_sum => a _.
  by rewrite normrM mulrC ler_wpmul2r // !mxE near.
move=> /eqP free; rewrite -[r]free.
exact: leq_trans (mxrankM_maxl _ _) (mxrankM_maxr _ _).
Qed.
End Rank.

Section Log.
Variable R : expField.
Implicit Types x y : R.

Lemma ler_ln x y : 0 < x -> 0 < y -> x <= y -> ln x <= ln y.
Proof. by move=> x0 y0 xy; rewrite leNgt -ltr_expR !lnK ?posrE // -leNgt. Qed.

Lemma ln_mulexp x y : 0 < x -> ln (x * expR y) = ln x + y.
Proof. by move=> x0; rewrite -{1}[x]lnK ?posrE // -expRD expK. Qed.
End Log.

Section Distance.
Variables (R : expField) (n : nat).
Implicit Types P Q : 'M[R]_n.

(* if |log Q - log P| <= e in every entry then logrank Q >= logrank P *)
Theorem logrank_open P : exists2 e, 0 < e &
  forall Q, (forall i j, `|ln (Q i j) - ln (P i j)| <= e) -> (logrank P <= logrank Q)%N.
Proof.
have [e e0 h] := rank_open (centre R n) (logm P); exists e => // Q near.
by apply: h => i j; rewrite !mxE.
Qed.

(* numbers near p > 0 have logarithms near that of p *)
Lemma ln_near (p q e : R) : 0 < e -> 0 < p -> `|q - p| <= p * (1 - expR (- e)) ->
  0 < q /\ `|ln q - ln p| <= e.
Proof.
move=> e0 p0; have E0 := expR_gt0 (- e); have E1 : expR (- e) < 1.
  by rewrite -(@expR0 R) ltr_expR oppr_lt0.
rewrite ler_norml ler_subr_addl addrC mulrBr mulr1 opprB subrK ler_subl_addr => /andP [lo hi].
have q0 : 0 < q by apply: lt_le_trans lo; rewrite mulr_gt0.
have up : q <= p * expR e.
  apply: le_trans hi _; rewrite -(ler_pmul2r E0) -mulrA -expRD subrr expR0 mulr1 -subr_ge0.
  set x := (X in 0 <= X); have -> : x = p * (1 - expR (- e)) ^+ 2 by rewrite /x; ring.
  by rewrite mulr_ge0 ?sqr_ge0 // ltW.
split=> //; rewrite ler_norml; apply/andP; split.
  by rewrite ler_subr_addl -ln_mulexp // ler_ln ?mulr_gt0.
by rewrite ler_subl_addl -ln_mulexp // ler_ln ?mulr_gt0 ?expR_gt0.
Qed.

(* if |Q - P| <= e in every entry then logrank Q >= logrank P *)
Theorem logrank_open_entries P : (forall i j, 0 < P i j) -> exists2 e, 0 < e &
  forall Q, (forall i j, `|Q i j - P i j| <= e) -> (logrank P <= logrank Q)%N.
Proof.
move=> P0; have [e e0 h] := logrank_open P; pose t := \sum_i \sum_j (P i j)^-1.
have Pt i j : (P i j)^-1 <= t.
  have ge0 i' j' : 0 <= (P i' j')^-1 by rewrite invr_ge0 ltW.
  rewrite /t (bigD1 i) //= (bigD1 j) //= -addrA ler_addl.
  by apply: addr_ge0; apply: sumr_ge0 => a _; [exact: ge0 | apply: sumr_ge0 => b _; exact: ge0].
have E1 : 0 < 1 - expR (- e) by rewrite subr_gt0 -(@expR0 R) ltr_expR oppr_lt0.
have t0 : 0 < t + 1.
  rewrite ltr_spaddr ?ltr01 //; apply: sumr_ge0 => i _; apply: sumr_ge0 => j _.
  by rewrite invr_ge0 ltW.
exists ((t + 1)^-1 * (1 - expR (- e))) => [|Q near]; first by rewrite mulr_gt0 ?invr_gt0.
apply: h => i j; have [|_ //] := @ln_near (P i j) (Q i j) e e0 (P0 i j).
apply: le_trans (near i j) _; rewrite ler_pmul2r // -[X in _ <= X]invrK lef_pinv ?posrE ?invr_gt0 //.
by apply: (le_trans (Pt i j)); rewrite ler_addl ler01.
Qed.

(* no head of size k < logrank P comes nearer to P than some e > 0 in all entries, on any X at any scale *)
Theorem positive_distance P k : stochastic P -> (k < logrank P)%N -> exists2 e, 0 < e &
  forall d s (X : 'M_(d, n)) Q, reachable k s X Q -> exists i j, e < `|Q i j - P i j|.
Proof.
case=> P0 _ lt; have [e e0 h] := logrank_open_entries P0; exists e => // d s X Q [Wk [Wq hQ]].
have n0 : (0 < n)%N by apply: leq_trans (leq_ltn_trans (leq0n k) lt) (leq_trans (mxrankM_maxl _ _) (rank_leq_row _)).
have [/existsP [i /existsP [j lt']] | /existsPn near] := boolP [exists i, exists j, e < `|Q i j - P i j|].
  by exists i, j.
have sQ : stochastic Q by rewrite -hQ; apply: softmax_stochastic.
have /(leq_trans lt) : (logrank P <= logrank Q)%N.
  by apply: h => i j; have /existsPn/(_ j) := near i; rewrite -leNgt.
by rewrite ltnNge (logrank_necessary n0 sQ hQ).
Qed.
(* Logits L on tokens of full column rank, r = rank (C L): for all ratios e^e' that are small enough and every P
   within that ratio of softmax L, the least size of a head within that ratio of P is r. *)
Theorem least_size_within d s (X : 'M[R]_(d, n)) (L : 'M[R]_n) : (0 < n)%N -> s != 0 -> \rank X = n ->
  let near e' Q P := forall i j, `|ln (Q i j) - ln (P i j)| <= e' in
  exists2 e, 0 < e & forall e', 0 <= e' <= e -> forall P, near e' P (softmax L) -> forall k,
    (exists2 Q, reachable k s X Q & near e' Q P) <-> (\rank (centre R n *m L) <= k)%N.
Proof.
move=> n0 s0 rX near; set P0 := softmax L; have sP0 : stochastic P0 by apply: softmax_stochastic.
have [c eL] := (softmax_eq L sP0).1 erefl.
have -> : \rank (centre R n *m L) = logrank P0 by rewrite eL centre_gauge // nR0.
have [e e0 h] := logrank_open P0; exists (e / 2%:R); first by rewrite divr_gt0 ?ltr0n.
move=> e' /andP [e'0 le] P nP k; split=> [[Q hQ nQ] | rk]; last first.
  by exists P0; [apply/theorem_a | move=> i j; rewrite distrC].
have sQ : stochastic Q by case: hQ => Wk [Wq <-]; apply: softmax_stochastic.
apply: leq_trans (_ : logrank Q <= k)%N; last by case: hQ => Wk [Wq hQ]; apply: logrank_necessary hQ.
apply: h => i j; apply: le_trans (ler_dist_add (ln (P i j)) _ _) _.
apply: le_trans (ler_add (nQ i j) (nP i j)) _.
by move: le; rewrite ler_pdivl_mulr ?ltr0n // mulr_natr mulr2n.
Qed.
End Distance.
